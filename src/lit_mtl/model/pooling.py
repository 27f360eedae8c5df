"""From token vectors to one sentence vector.

Shapes: B sentences, T tokens, H hidden dimension.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from lit_mtl.errors import ConfigError

PoolingName = Literal["mean", "cls", "max"]


def mean_pool(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean of the real tokens: (B, T, H) and (B, T) to (B, H)."""
    weight = mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)


def cls_pool(tokens: Tensor, mask: Tensor) -> Tensor:
    """The first real token, which is not at position 0 under left padding."""
    first = mask.to(torch.int64).argmax(dim=1)
    index = first.view(-1, 1, 1).expand(-1, 1, tokens.shape[-1])
    return tokens.gather(1, index).squeeze(1)


def max_pool(tokens: Tensor, mask: Tensor) -> Tensor:
    """Largest value of the real tokens in each dimension."""
    lowest = torch.finfo(tokens.dtype).min
    return tokens.masked_fill(~mask.bool().unsqueeze(-1), lowest).amax(dim=1)


_POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean_pool,
    "cls": cls_pool,
    "max": max_pool,
}


class Pooling(nn.Module):
    """Pools by name.

    Args:
        name: `mean`, `cls` or `max`.

    Raises:
        ConfigError: for another name.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in _POOLINGS:
            raise ConfigError(
                f"Expected argument `pooling` to be one of {sorted(_POOLINGS)}, but got {name!r}"
            )
        self.name = name

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Pool tokens (B, T, H) under a mask (B, T) to (B, H)."""
        return _POOLINGS[self.name](tokens, mask)

    def extra_repr(self) -> str:
        """Name of the pooling in the printed model."""
        return self.name
