"""What all tasks with real scores share: range, unit, interval, histogram and metrics.

Shapes: R rows.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lit_mtl.errors import ConfigError
from lit_mtl.ranks import spearman
from lit_mtl.reliability import conformal_radius
from lit_mtl.tasks.base import Claims, Metrics, OtherOutputsError, Task
from lit_mtl.tasks.cells import MOST, read_number

_LEAST_SPREAD = 4 * torch.finfo(torch.float32).eps
"""Standard deviation over the largest value below which nothing but rounding varies."""

_LEAST_RANGE = 2.0**-16
"""Range over the largest score below which fewer than 256 scores could be told apart in 24 bits."""

_BINS = 8
"""Bars of a histogram."""


@dataclass(frozen=True, kw_only=True)
class ScoreTask(Task):
    """Scores in a range, each prediction with an interval.

    The interval around a predicted score reaches `radius` times the prediction's own width to each
    side, which is split conformal prediction with residuals in units of that width (Lei et al. 2018,
    arXiv:1604.04173, 5.2).

    Args:
        low: smallest score that is allowed in the data. None: the smallest one of the data.
        high: largest score that is allowed in the data. None: the largest one of the data.
        span: the range where the data say a part of it; measured.
        coverage: probability with which the interval around a prediction holds the score of a
            sentence, in (0, 1).
        radius: half the interval in units of the prediction's width; fitted on the validation split
            at the end of a fit. None: there is no interval.
    """

    low: float | None = None
    high: float | None = None
    span: tuple[float, float] | None = None
    coverage: float = 0.9
    radius: float | None = None

    target_columns: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        """Check the range, the unit and the interval."""
        super().__post_init__()
        if self.span is not None:
            object.__setattr__(self, "span", tuple(self.span))
        ends = [end for end in (self.low, self.high) if end is not None]
        if not all(abs(end) <= MOST for end in ends) or (len(ends) == 2 and not ends[0] < ends[1]):
            raise ConfigError(
                f"Expected a range with `low` < `high`, but got low={self.low}, high={self.high}"
            )
        low, high = self.span or (self.low, self.high)
        if low is not None and high is not None:
            _refuse_narrow(low, high)
        if not 0 < self.coverage < 1:
            raise ConfigError(
                f"Expected argument `coverage` to be in (0, 1), but got {self.coverage}"
            )
        if self.radius is not None and not self.radius >= 0:
            raise ConfigError(f"Expected argument `radius` to be at least 0, but got {self.radius}")

    @property
    def is_open(self) -> bool:
        """Whether an end of the range is still to be found in the data."""
        return self.span is None and (self.low is None or self.high is None)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest score, once they are known."""
        low, high = self.span or (self.low, self.high)
        if low is None or high is None:
            raise ConfigError(f"The range of a {self.kind} task is not known before its data")
        return low, high

    def other_range(self, held: Task) -> str:
        """Both ranges where another task's is not this one's, for people; else nothing."""
        if not isinstance(held, ScoreTask) or held.range == self.range:
            return ""
        (low, high), (own_low, own_high) = held.range, self.range
        return f"{low:g} to {high:g} there, {own_low:g} to {own_high:g} here"

    def refuse_other_range(self, held: Task) -> None:
        """A head whose outputs mean places in a range is not one of another range.

        Raises:
            OtherOutputsError: if it is.
        """
        if other := self.other_range(held):
            raise OtherOutputsError(other)

    @property
    def target_dtype(self) -> torch.dtype:
        """Scores in the user's unit."""
        return torch.float32

    @abstractmethod
    def score_and_width(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of `predict`, and the unit of each one's interval: (R, ...) to (R,) and (R,)."""

    @abstractmethod
    def true_score(self, target: Tensor) -> Tensor:
        """What an interval is to hold: target (R, S) to (R,)."""

    @abstractmethod
    def assumed_deviation(self, residuals: Tensor) -> float:
        """Standard deviation of residuals (R,), in widths, before an interval is fitted."""

    @abstractmethod
    def _written(self, value: str) -> list[float]:
        """The scores of one cell; ValueError where they cannot be read."""

    def resolve(self, values: Sequence[str]) -> Self:
        """Take the ends of the range that were not declared from the data."""
        if not self.is_open:
            return self
        scores = [score for value in set(values) for score in self._readable(value)]
        if not scores:
            return self
        low = min(scores) if self.low is None else self.low
        high = max(scores) if self.high is None else self.high
        if not low < high:
            raise ConfigError(
                f"Expected scores that differ, to measure their range, but got {min(scores):g} to "
                f"{max(scores):g}, with the declared low={self.low}, high={self.high}"
            )
        return replace(self, span=(low, high))

    def _readable(self, value: str) -> list[float]:
        try:
            return self._written(value)
        except ValueError:
            return []

    def read_score(self, text: str) -> float:
        """Read one score within the range.

        Raises:
            ValueError: saying what was expected and found.
        """
        score = read_number(text)
        low, high = self.range
        if not low <= score <= high:
            raise ValueError(
                f"expected a score within the declared range {low:g} to {high:g}; found {text}"
            )
        return score

    def in_range(self, score: Tensor) -> Tensor:
        """Scores clipped to the range."""
        return score.clamp(*self.range)

    def interval(self, prediction: Tensor) -> Tensor | None:
        """Scores within `radius` widths, and within the range: (R, 2)."""
        if self.radius is None:
            return None
        score, width = self.score_and_width(prediction)
        reach = self.radius * width
        return self.in_range(torch.stack([score - reach, score + reach], dim=-1))

    def decoded_interval(self, prediction: Tensor) -> dict[str, Any]:
        """The interval of one row of `predict` as a plain value, where one is known."""
        interval = self.interval(prediction)
        return {} if interval is None else {"interval": interval.tolist()}

    def calibrate(self, output: Tensor, target: Tensor) -> Self:
        """Fit the radius of the interval; too few rows for the coverage fix none."""
        found = conformal_radius(self._residuals(output, target), coverage=self.coverage)
        return self if found is None else replace(self, radius=found)

    def claims(self, output: Tensor, target: Tensor) -> Claims:
        """The coverage, and whether the score lies within the interval.

        Where no interval is known, that of normal errors with the assumed deviation.
        """
        residuals = self._residuals(output, target)
        radius = self.radius
        if radius is None:
            normal = NormalDist().inv_cdf((1 + self.coverage) / 2)
            radius = normal * self.assumed_deviation(residuals)
        return torch.full_like(residuals, self.coverage), (residuals <= radius).to(residuals.dtype)

    def _residuals(self, output: Tensor, target: Tensor) -> Tensor:
        """Distance of every row's score from the predicted one in widths, (R,)."""
        score, width = self.score_and_width(self.predict(output).double())
        return (score - self.true_score(target).double()).abs() / width


@dataclass(frozen=True, kw_only=True)
class StandardisedScoreTask(ScoreTask):
    """Scores in the user's unit outside and standardised inside.

    The head's output z stands for the score `center + scale * z`.

    Args:
        center: score at z = 0. None: the mean of the training targets.
        scale: score of one unit of z. None: measured on the training targets.
    """

    center: float | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        """Check the unit."""
        super().__post_init__()
        if self.scale is not None and not self.scale > 0:
            raise ConfigError(f"Expected argument `scale` to be above 0, but got {self.scale}")

    def change_of_unit(self, held: "StandardisedScoreTask") -> tuple[float, float]:
        """Factor and shift that make z of another task's unit one of this task's: the same score."""
        (old_center, old_scale), (center, scale) = held.unit, self.unit
        return old_scale / scale, (old_center - center) / scale

    def standardised(self, score: Tensor) -> Tensor:
        """Scores in units of z."""
        center, scale = self.unit
        return (score - center) / scale

    @property
    def unit(self) -> tuple[float, float]:
        """The score at z = 0, and of one unit of z; 0 and 1 before they are measured."""
        return (
            0.0 if self.center is None else self.center,
            1.0 if self.scale is None else self.scale,
        )


def _refuse_narrow(low: float, high: float) -> None:
    """Targets are kept in 24 bits: of numbers that are all alike little but rounding would be learned."""
    if high - low < _LEAST_RANGE * max(abs(low), abs(high)):
        raise ConfigError(
            f"Expected scores whose differences matter beside their size, but got {low:.10g} to "
            f"{high:.10g}. Subtract what they have in common"
        )


def score_metrics(score: Tensor, target: Tensor) -> Metrics:
    """Correlations and errors of scores (R,) against targets (R,).

    A correlation needs targets and predictions that vary and are finite.
    """
    # here and not on top: who only predicts needs no torchmetrics
    from torchmetrics.functional import mean_absolute_error, mean_squared_error

    if not len(target):
        return dict.fromkeys(("pearson", "spearman", "mae", "rmse"))
    return {
        **correlations(score, target),
        "mae": float(mean_absolute_error(score, target)),
        "rmse": float(mean_squared_error(score, target, squared=False)),
    }


def correlations(one: Tensor, other: Tensor) -> Metrics:
    """Pearson and Spearman correlation of (R,) with (R,); None where one of them does not vary."""
    if not (_varies(one) and _varies(other)):
        return {"pearson": None, "spearman": None}
    pair = torch.stack([one.double(), other.double()])
    unit = normalize(pair - pair.mean(dim=1, keepdim=True), dim=1, eps=0.0)
    return {"pearson": float((unit[0] * unit[1]).sum()), "spearman": spearman(one, other)}


def _varies(values: Tensor) -> bool:
    """Whether finite values differ by more than they are rounded, whatever their unit."""
    if len(values) < 2 or not values.isfinite().all():
        return False
    return float(values.double().std(correction=0)) > _LEAST_SPREAD * float(values.abs().max())


def histogram(scores: npt.NDArray[np.float64]) -> list[dict[str, float]]:
    """Counts in bins of one width from the least score to the largest, which belongs to the last."""
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return [{"from": low, "to": high, "count": len(scores)}]
    counts, edges = np.histogram(scores, bins=_BINS, range=(low, high))
    return [
        {"from": float(edges[number]), "to": float(edges[number + 1]), "count": int(count)}
        for number, count in enumerate(counts)
    ]


def number_of(target: Any) -> float:
    """An encoded target that is one number."""
    assert not isinstance(target, tuple)
    return float(target)
