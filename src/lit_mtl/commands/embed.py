"""Embeddings as a table for people."""

from collections.abc import Sequence

from tabulate import tabulate
from torch import Tensor
from torch.nn import functional

_MOST_IN_TABLE = 12


def describe(embeddings: Tensor, texts: Sequence[str]) -> str:
    """Shape, length of each vector, and the cosine of each pair of sentences."""
    lines = [f"shape: {tuple(embeddings.shape)}", ""]
    unit = functional.normalize(embeddings[:_MOST_IN_TABLE], dim=-1)
    cosine = unit @ unit.T
    shown = range(len(unit))
    rows = [
        [number + 1, f"{embeddings[number].norm():.3f}"]
        + [f"{cosine[number, other]:.3f}" for other in shown]
        + [texts[number]]
        for number in shown
    ]
    lines.append(
        tabulate(
            rows,
            ["", "norm", *(f"cos {number + 1}" for number in shown), "sentence"],
            disable_numparse=True,
        )
    )
    if len(texts) > _MOST_IN_TABLE:
        lines.append(f"... and {len(texts) - _MOST_IN_TABLE} more; save them all with --output")
    return "\n".join(lines)
