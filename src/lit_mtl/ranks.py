"""Rank correlation that stays exact for many rows with few different values.

The ranks of torchmetrics 1.9 add up those of equal values in 32-bit integers: where 50,000 of 80,000
stars are 5, the sum overflows, and Spearman's correlation comes out with the wrong sign.
"""

import math

import torch
from torch import Tensor


def average_ranks(values: Tensor) -> Tensor:
    """Ranks (N,) of values (N,), counted from 1; equal ones share the mean of theirs. In float64."""
    place: Tensor
    counts: Tensor
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(dim=0).double()
    return (last - (counts.double() - 1) / 2)[place]


def spearman(one: Tensor, other: Tensor) -> float:
    """Spearman's correlation of (N,) with (N,); NaN where one of them does not vary or is not finite."""
    if not (one.isfinite().all() and other.isfinite().all()):
        return math.nan
    ranks = torch.stack([average_ranks(one), average_ranks(other)])
    centred = ranks - ranks.mean(dim=1, keepdim=True)
    length = centred.square().sum(dim=1).sqrt()
    return float((centred[0] * centred[1]).sum() / (length[0] * length[1]))
