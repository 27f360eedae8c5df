"""Regression of a score in a range.

Shapes: R rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lit_mtl.errors import ConfigError
from lit_mtl.tasks.base import Metrics, OtherOutputsError, Target, Targets, Task
from lit_mtl.tasks.cells import read_number
from lit_mtl.tasks.moments import mean_and_deviation
from lit_mtl.tasks.scores import StandardisedScoreTask, histogram, number_of, score_metrics

_LEAST_SHARE = 1e-3
"""A bounded output begins at least this share of the range away from its ends, to have a slope."""


@dataclass(frozen=True, kw_only=True)
class Regression(StandardisedScoreTask):
    """One real score, learned on standardised targets.

    The head's output z stands for the score `center + scale * z`. With the mean and the standard
    deviation of the training targets the squared error begins near 1 whatever the unit of the score
    is, so it can be added to a cross-entropy without a weight of its own.

    A bounded output passes through a logistic curve into the range. The curve goes through `center`
    at z = 0 with the slope `scale`, so a bounded head begins as an unbounded one does.

    Args:
        kind: names this kind of task in a config.
        weight: factor of this task's loss in the sum of the losses; see `Task`.
        low: smallest score that is allowed in the data; predictions are clipped to it. None: the
            smallest one of the data.
        high: largest score that is allowed in the data; predictions are clipped to it. None: the
            largest one of the data.
        span: the range where the data say a part of it; measured.
        center: score at z = 0. None: the mean of the training targets.
        scale: score of one unit of z. None: the standard deviation of the training targets.
        coverage: probability with which the interval around a prediction holds the score, in (0, 1).
        radius: half the width of that interval. None: fitted on the validation split at the end of
            a fit; until then there is no interval.
        bounded: whether the output itself cannot leave the range, in the loss too.
        loss: `squared`, `absolute`, or `huber`: squared up to `huber_delta` and from there on the
            line that continues it, so that single far-off scores count less. This is twice Huber's
            function (Huber 1964, Robust Estimation of a Location Parameter), which halves the square.
        huber_delta: where Huber's line begins, in units of `scale`.
    """

    kind: Literal["regression"] = "regression"
    bounded: bool = False
    loss: Literal["squared", "absolute", "huber"] = "squared"
    huber_delta: float = 1.0

    target_columns: ClassVar[tuple[str, ...]] = ("score",)
    primary_metric: ClassVar[str] = "pearson"

    def __post_init__(self) -> None:
        """Check the loss."""
        super().__post_init__()
        if self.loss not in ("squared", "absolute", "huber"):
            raise ConfigError(
                f"Expected argument `loss` to be squared, absolute or huber, but got {self.loss!r}"
            )
        if not 0 < self.huber_delta < math.inf:
            raise ConfigError(
                f"Expected argument `huber_delta` to be above 0, but got {self.huber_delta}"
            )

    @property
    def output_dim(self) -> int:
        """One number."""
        return 1

    def encode(self, value: str) -> float:
        """Read a score within the range."""
        return self.read_score(value)

    def describe(self, target: Target) -> str:
        """The score."""
        return str(number_of(target))

    def merge(self, targets: Sequence[Target]) -> Target:
        """The mean of the scores of a sentence."""
        return fmean(map(number_of, targets))

    def fit(self, targets: Targets) -> Self:
        """Measure center and scale on the training targets where they were not declared."""
        if not len(targets):
            return self
        mean, deviation = mean_and_deviation(np.asarray(targets, dtype=np.float64))
        center = mean if self.center is None else self.center
        scale = (deviation or 1.0) if self.scale is None else self.scale
        return replace(self, center=center, scale=scale)

    def summary(self, targets: Targets) -> dict[str, Any]:
        """Number of scores by bins."""
        return {"histogram": histogram(np.asarray(targets, np.float64))}

    def row_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Error in units of `scale` by the chosen loss: output (R, 1) and scores (R,) to (R,)."""
        z = self.standardised(self._score(output)) if self.bounded else output.squeeze(-1)
        error = z - self.standardised(target)
        if self.loss == "absolute":
            return error.abs()
        if self.loss == "huber":
            zero = error.new_zeros(error.shape)
            return 2 * functional.huber_loss(error, zero, reduction="none", delta=self.huber_delta)
        return error.square()

    def predict(self, output: Tensor) -> Tensor:
        """Scores (R,) in the user's unit, clipped to the range."""
        return self.in_range(self._score(output))

    def decode(self, prediction: Tensor) -> dict[str, Any]:
        """The score, and its interval where one is known."""
        return {"score": float(prediction), **self.decoded_interval(prediction)}

    def score_and_width(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """The scores, and 1 in the user's unit: all intervals are equally wide."""
        return prediction, torch.ones_like(prediction)

    def true_score(self, target: Tensor) -> Tensor:
        """The score."""
        return target

    def assumed_deviation(self, residuals: Tensor) -> float:
        """These rows' own root mean square; the head says nothing of it."""
        return float(residuals.square().mean().sqrt())

    def metrics(self, output: Tensor, target: Tensor) -> Metrics:
        """Pearson and Spearman correlation, mean absolute and root mean squared error."""
        return score_metrics(self.predict(output), target)

    def _adopted_head(self, held: Task, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """In the unit of this task; a bounded one is a head of the same range only."""
        assert isinstance(held, Regression)
        if held.bounded != self.bounded:
            raise OtherOutputsError(f"{'' if held.bounded else 'not '}bounded there")
        if self.bounded:
            self.refuse_other_range(held)
            (old_slope, old_start), (slope, start) = held._curve(), self._curve()
            factor, shift = old_slope / slope, (old_start - start) / slope
        else:
            factor, shift = self.change_of_unit(held)
        return weight * factor, bias * factor + shift

    def _score(self, output: Tensor) -> Tensor:
        center, scale = self.unit
        z = output.squeeze(-1)
        if not self.bounded:
            return z * scale + center
        low, high = self.range
        slope, start = self._curve()
        return low + (high - low) * (z * slope + start).sigmoid()

    def _curve(self) -> tuple[float, float]:
        """Slope and value at z = 0 of what a bounded output's logistic curve is given."""
        (center, scale), (low, high) = self.unit, self.range
        share = min(max((center - low) / (high - low), _LEAST_SHARE), 1 - _LEAST_SHARE)
        return scale / ((high - low) * share * (1 - share)), math.log(share / (1 - share))

    def _written(self, value: str) -> list[float]:
        return [read_number(value)]

    def _outputs(self) -> tuple[object, ...]:
        return (self.low, self.high, self.bounded)
