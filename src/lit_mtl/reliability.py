"""Whether stated probabilities come true, and what makes them do so: pure functions.

Shapes: N statements, R rows.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_BOUND = 20.0
"""A temperature is searched between 1/20 and 20."""

_GOLDEN = (math.sqrt(5) - 1) / 2


def fit_temperature(loss: Callable[[float], float]) -> float | None:
    """The temperature T with the least loss of `logits / T` (Guo et al. 2017, arXiv:1706.04599).

    A negative log-likelihood is convex in 1/T, so it has one valley in log T, and a golden-section
    search finds its bottom.

    Args:
        loss: mean negative log-likelihood as a function of T.

    Returns:
        T, at most 20; None if the loss falls up to the lower end of the range, as where no prediction
        is wrong.
    """
    end = math.log(_BOUND)
    low, high = -end, end
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(math.exp(left)), loss(math.exp(right))
    while high - low > 1e-6:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(math.exp(right))
    found = (low + high) / 2
    return math.exp(min(found, end)) if found > 1e-3 - end else None


def conformal_radius(residuals: Tensor, *, coverage: float) -> float | None:
    """Half the width of an interval that holds a new row with at least a given probability.

    It is the k-th smallest of the R residuals with k = ceil((R + 1) * coverage): split conformal
    prediction, which asks only that rows are exchangeable (Lei et al. 2018, arXiv:1604.04173).

    Args:
        residuals: distances between predictions and targets, (R,), none of them used in training.
        coverage: the probability, in (0, 1).

    Returns:
        The radius; None if R is too small for this coverage.
    """
    # rounded first: 10 * 0.9 must not become 10 by the last bit of a float
    rank = math.ceil(round((len(residuals) + 1) * coverage, 9))
    if rank > len(residuals):
        return None
    return float(residuals.double().sort().values[rank - 1])


def expected_calibration_error(stated: Tensor, came_true: Tensor, *, bins: int = 15) -> float:
    """Mean distance between stated and observed frequency over bins of equal width.

    Args:
        stated: probabilities in [0, 1], (N,).
        came_true: 1 where the statement held and 0 where not, (N,).
        bins: number of bins (Naeini et al. 2015; 15 as in Guo et al. 2017).
    """
    difference = _by_bin(stated, stated.double() - came_true.double(), bins)
    return float(difference.abs().sum() / len(stated))


def calibration_error_by_chance(stated: Tensor, *, bins: int = 15) -> float:
    """What `expected_calibration_error` is on average where every statement is right.

    Few rows never come out even. The sum of a bin is taken as normal: its mean distance from 0 is
    sqrt(2 / pi) of its standard deviation.

    Args:
        stated: probabilities in [0, 1] of independent events, (N,).
        bins: number of bins.
    """
    stated = stated.double()
    variance = _by_bin(stated, stated * (1 - stated), bins)
    return float((variance * 2 / math.pi).sqrt().sum() / len(stated))


def _by_bin(stated: Tensor, values: Tensor, bins: int) -> Tensor:
    """Sums of values over bins of equal width of what is stated, (bins,)."""
    place = (stated.double() * bins).long().clamp(0, bins - 1)
    return torch.zeros(bins, dtype=torch.float64).index_add_(0, place, values)


def folds(rows: int, count: int = 5) -> Iterator[tuple[Tensor, Tensor]]:
    """Each of several disjoint parts of the row numbers, behind all the others together."""
    numbers = torch.arange(rows)
    for fold in range(count):
        inside = numbers % count == fold
        yield numbers[~inside], numbers[inside]
