"""Batches for inference: sentences of one length meet, so that nothing is padded and masked.

Shapes: B rows of a batch, T tokens.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

TOKENS = 1024
"""Tokens of a batch, about: enough to keep a processor busy, few enough for its cache."""


def length_batches(
    ids: Sequence[Sequence[int]], *, tokens: int = TOKENS
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Row numbers (B,), ids (B, T) and attention mask (B, T) of each batch, longest first.

    Every row comes exactly once.

    Args:
        ids: token ids of each row.
        tokens: tokens of a batch at most, padding included; a longer row is a batch by itself.
    """
    longest_first = np.argsort([-len(row) for row in ids], kind="stable")
    start = 0
    while start < len(ids):
        length = len(ids[longest_first[start]])
        rows = longest_first[start : start + max(1, tokens // max(1, length))]
        start += len(rows)
        parts = [torch.tensor(ids[row]) for row in rows]
        yield (
            torch.from_numpy(rows),
            pad_sequence(parts, batch_first=True),
            pad_sequence([torch.ones_like(part) for part in parts], batch_first=True),
        )
