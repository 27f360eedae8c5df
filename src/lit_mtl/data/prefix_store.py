"""What a frozen prefix of the network gives for each row, on disk and memory-mapped.

Rows are computed in batches that depend on their lengths alone, and never on those of the training,
so a run that is continued finds the same numbers to the bit. Each process of a machine computes a
share of these batches and writes a file of its own; all of them read all of these files.

Shapes: B rows, T tokens of the longest of them, N tokens of all of them, H hidden dimension.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lit_mtl.data.cache import ensure, entry
from lit_mtl.data.corpus import token_counts
from lit_mtl.errors import StorageError

Prefix = Callable[[Tensor, Tensor], Tensor]
"""From ids (B, T) and their mask (B, T) to pooled vectors (B, H) or hidden states (B, T, H)."""

_BATCH_TOKENS = 2048
"""Tokens of a batch, padding included, unless a single row has more.

Of a thousand sentences of movie reviews 6 % is then padding, and with four times as many tokens 19 %.
"""

_VECTORS = "vectors"
_FACTS = "facts.json"


def batches_by_length(
    lengths: NDArray[np.int32], *, tokens: int = _BATCH_TOKENS
) -> Iterator[NDArray[np.intp]]:
    """Numbers of all rows in batches of similar length, the longest first.

    Args:
        lengths: tokens of each row.
        tokens: rows times the longest row of a batch at most.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(longest_first):
        rows = max(1, tokens // max(1, int(lengths[longest_first[start]])))
        yield longest_first[start : start + rows]
        start += rows


def sum_of_ids(dataset: Dataset) -> str:
    """A sum over the token ids of all rows and where each row ends."""
    digest = xxhash.xxh3_128(token_counts(dataset).tobytes())
    for chunk in dataset.data.column("input_ids").chunks:
        digest.update(np.ascontiguousarray(chunk.flatten().to_numpy()).data)
    return digest.hexdigest()


class PrefixStore:
    """The vectors of one split's rows.

    Args:
        files: vectors of each share, (·, H).
        share: in which of them a row is, (R,).
        start: its first vector there, (R,).
        count: how many it has, (R,).
        layers: layers of the prefix that gave them.
        pooled: whether a row has one vector, and not one a token.
    """

    def __init__(
        self,
        files: Sequence[Tensor],
        *,
        share: NDArray[np.intp],
        start: NDArray[np.int64],
        count: NDArray[np.int64],
        layers: int,
        pooled: bool,
    ) -> None:
        self.layers = layers
        self._files = files
        self._share = share
        self._start = start
        self._count = count
        self._pooled = pooled

    def rows(self, row_id: Tensor) -> Tensor:
        """What the prefix gives for rows: (B, H), or (B, T, H) with zeros on the right."""
        ids = row_id.cpu().numpy()
        first, last = self._start[ids], self._start[ids] + self._count[ids]
        where = zip(self._share[ids].tolist(), first.tolist(), last.tolist(), strict=True)
        vectors = [self._files[share][start:stop] for share, start, stop in where]
        found = torch.cat(vectors) if self._pooled else pad_sequence(vectors, batch_first=True)
        return found.to(row_id.device, non_blocking=True)


@dataclass(frozen=True, kw_only=True)
class PrefixStorage:
    """What is to be stored, and of which rows.

    Args:
        dataset: the rows, with `input_ids`.
        layers: layers of the prefix.
        pooled: whether it gives one vector a row, and not one a token.
        shares: how many processes compute it.
    """

    dataset: Dataset
    layers: int
    pooled: bool
    shares: int = 1

    @property
    def vectors(self) -> int:
        """How many vectors there are."""
        return len(self.dataset) if self.pooled else int(self._lengths.sum(dtype=np.int64))

    @property
    def _lengths(self) -> NDArray[np.int32]:
        return token_counts(self.dataset)

    def folders(self, cache: Path, made_of: Mapping[str, Any]) -> list[Path]:
        """Where each share is, once it is there.

        Args:
            cache: folder of all that is prepared.
            made_of: plain values that say what the prefix is; the rows' ids are added.
        """
        all_of_it = {
            **made_of,
            "layers": self.layers,
            "pooled": self.pooled,
            "ids": sum_of_ids(self.dataset),
            "batch_tokens": _BATCH_TOKENS,
            "shares": self.shares,
        }
        return [
            entry(
                cache,
                {**all_of_it, "share": share},
                rooms=("data", "model"),
                packages=("torch", "transformers"),
            )
            for share in range(self.shares)
        ]

    def fill(self, folder: Path, prefix: Prefix, *, share: int = 0) -> None:
        """Compute a share, unless it is there; its file appears complete or not at all.

        Args:
            folder: of `folders`.
            prefix: runs the prefix, and gives its output on the processor.
            share: which one.

        Raises:
            StorageError: if it cannot be written.
        """
        ensure(folder, lambda partial: self._write(partial, prefix, share))

    def open(self, folders: Sequence[Path]) -> PrefixStore:
        """Open all shares.

        Raises:
            FileNotFoundError: if one is not there, or no longer.
            StorageError: if one is damaged.
        """
        count = np.ones(len(self.dataset), np.int64) if self.pooled else self._lengths
        share = np.zeros(len(count), np.intp)
        start = np.zeros(len(count), np.int64)
        sizes = [0] * self.shares
        for number, rows in enumerate(batches_by_length(self._lengths)):
            own = number % self.shares
            ends = sizes[own] + np.cumsum(count[rows], dtype=np.int64)
            share[rows], start[rows] = own, ends - count[rows]
            sizes[own] = int(ends[-1])
        files = [_open(folder, size) for folder, size in zip(folders, sizes, strict=True)]
        return PrefixStore(
            files,
            share=share,
            start=start,
            count=count.astype(np.int64),
            layers=self.layers,
            pooled=self.pooled,
        )

    def _write(self, folder: Path, prefix: Prefix, share: int) -> None:
        ids = self.dataset.select_columns("input_ids")
        facts: dict[str, Any] = {"dtype": "float32", "size": 1}
        # written and not mapped: a full disk is then an error, and not a signal that kills
        with (folder / _VECTORS).open("wb") as file:
            for number, rows in enumerate(batches_by_length(self._lengths)):
                if number % self.shares == share:
                    vectors = _vectors(prefix, ids[rows.tolist()]["input_ids"])
                    facts = {
                        "dtype": str(vectors.dtype).removeprefix("torch."),
                        "size": vectors.shape[-1],
                    }
                    file.write(vectors.contiguous().view(torch.uint8).numpy().data)
            file.flush()
            os.fsync(file.fileno())
        (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def remove(folders: Sequence[Path]) -> None:
    """Remove what nobody will look for again; who has it open keeps it."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _vectors(prefix: Prefix, ids: Sequence[Sequence[int]]) -> Tensor:
    """Pooled vectors (B, H), or the hidden states of the real tokens (N, H), row after row."""
    rows = [torch.tensor(row) for row in ids]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    found = prefix(pad_sequence(rows, batch_first=True), mask)
    return found if found.dim() == 2 else found[mask.bool()]


def _open(folder: Path, vectors: int) -> Tensor:
    path = folder / _VECTORS
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        dtype, size = getattr(torch, facts["dtype"]), int(facts["size"])
        if path.stat().st_size != vectors * size * dtype.itemsize:
            raise ValueError("it has another size than it was written with")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{folder}: what is stored of the frozen layers cannot be read ({error}). Remove that "
            "folder to have it computed again"
        ) from error
    if not vectors:
        return torch.empty(0, size, dtype=dtype)
    # private, so that nothing writes to it; the pages are shared with all who read them
    return torch.from_file(str(path), shared=False, size=vectors * size, dtype=dtype).view(-1, size)
