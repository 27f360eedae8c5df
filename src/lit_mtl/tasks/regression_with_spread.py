"""Regression of several ratings a sentence: their mean, and how far they lie apart.

Shapes: R rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from lit_mtl.tasks.base import Metrics, Target, Targets, Task
from lit_mtl.tasks.cells import read_number, split_cell
from lit_mtl.tasks.moments import mean_and_deviation
from lit_mtl.tasks.scores import StandardisedScoreTask, correlations, histogram, score_metrics

_MOST_LOG_VARIANCE = 8.0
"""Bound of the log-variance: a spread of exp(-4) to exp(4) scales, and a loss that has a bottom."""


@dataclass(frozen=True, kw_only=True)
class RegressionWithSpread(StandardisedScoreTask):
    """Several ratings a sentence, each a draw from a normal distribution that the head predicts.

    The head gives the mean and the logarithm of the variance; the loss of a row is the mean negative
    log-likelihood of its ratings (Nix & Weigend 1994, Estimating the mean and variance of the target
    probability distribution), without its constant. So every sentence counts the same, however many
    ratings it has. A sentence with one rating teaches mean and spread too: its distance from the
    predicted mean is all that is seen of the spread.

    A cell has its ratings separated by `|`, or is a JSON array of them; a sentence may also stand in
    several rows. All its ratings are taken together.

    The predicted spread is the width of the interval around the score, which so is wider for a sentence
    on which people differ. It holds for a mean of as many ratings as sentences of the validation split
    have.

    Args:
        kind: names this kind of task in a config.
        weight: factor of this task's loss in the sum of the losses; see `Task`.
        low: smallest rating that is allowed in the data; predictions are clipped to it. None: the
            smallest one of the data.
        high: largest rating that is allowed in the data; predictions are clipped to it. None: the
            largest one of the data.
        span: the range where the data say a part of it; measured.
        center: score at an output of 0. None: the mean of the training sentences' mean ratings.
        scale: score of one unit of the output. None: the root mean square of the distances of the
            training ratings from `center`, each sentence counting the same. The loss then begins at
            1/2.
        coverage: probability with which the interval around a prediction holds the mean of a
            sentence's ratings, in (0, 1).
        radius: half the width of that interval in units of the predicted spread. None: fitted on the
            validation split at the end of a fit; until then there is no interval.
    """

    kind: Literal["regression_with_spread"] = "regression_with_spread"

    target_columns: ClassVar[tuple[str, ...]] = ("ratings",)
    primary_metric: ClassVar[str] = "pearson"
    learns_variance: ClassVar[bool] = True

    @property
    def output_dim(self) -> int:
        """Mean and log-variance."""
        return 2

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Mean, population variance and number of the ratings."""
        return (3,)

    def encode(self, value: str) -> tuple[float, ...]:
        """Read ratings within the range."""
        ratings = [self.read_score(part) for part in split_cell(value)]
        if not ratings:
            raise ValueError(f"expected at least one rating; found {value!r}")
        return pooled([(rating, 0.0, 1.0) for rating in ratings])

    def describe(self, target: Target) -> str:
        """Mean, standard deviation and number of the ratings."""
        assert isinstance(target, tuple)
        mean, variance, count = target
        return described(mean, variance, count)

    def merge(self, targets: Sequence[Target]) -> Target:
        """Mean, variance and number of all ratings of a sentence."""
        return pooled([target for target in targets if isinstance(target, tuple)])

    def fit(self, targets: Targets) -> Self:
        """Measure center and scale on the training ratings where they were not declared."""
        array = np.asarray(targets, dtype=np.float64).reshape(-1, 3)
        if not len(array):
            return self
        mean, deviation = mean_and_deviation(np.ascontiguousarray(array[:, 0]))
        center = mean if self.center is None else self.center
        within = math.fsum(array[:, 1].tolist()) / len(array)
        distance = math.sqrt(deviation**2 + (mean - center) ** 2 + within)
        scale = (distance or 1.0) if self.scale is None else self.scale
        return replace(self, center=center, scale=scale)

    def summary(self, targets: Targets) -> dict[str, Any]:
        """Number of mean ratings by bins, and the number of ratings."""
        mean, _, count = np.asarray(targets, np.float64).reshape(-1, 3).T
        return {"histogram": histogram(mean), "ratings": int(count.sum())}

    def row_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean negative log-likelihood of a row's ratings in units of `scale`, less its constant.

        Output (R, 2) and mean, variance, number (R, 3) to (R,). As the ratings y with mean m and
        variance v have a mean square distance of v + (m - mu)^2 from mu, it is
        (s + (v + (m - mu)^2) exp(-s)) / 2 for the log-variance s.
        """
        mean, log_variance = _moments(output)
        _, scale = self.unit
        square = target[:, 1] / scale**2 + (self.standardised(target[:, 0]) - mean).square()
        return (log_variance + square * (-log_variance).exp()) / 2

    def predict(self, output: Tensor) -> Tensor:
        """Score, clipped to the range, and spread in the user's unit, (R, 2)."""
        mean, log_variance = _moments(output)
        center, scale = self.unit
        spread = (log_variance / 2).exp() * scale
        return torch.stack([self.in_range(mean * scale + center), spread], dim=-1)

    def decode(self, prediction: Tensor) -> dict[str, Any]:
        """The score, the standard deviation of single ratings around it, and its known interval."""
        score, spread = prediction.tolist()
        return {"score": score, "spread": spread, **self.decoded_interval(prediction)}

    def score_and_width(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """The scores, and the spreads."""
        score, spread = prediction.unbind(dim=-1)
        return score, spread

    def true_score(self, target: Tensor) -> Tensor:
        """The mean of the ratings."""
        return target[:, 0]

    def assumed_deviation(self, residuals: Tensor) -> float:
        """One spread: what the head says of a single rating."""
        return 1.0

    def metrics(self, output: Tensor, target: Tensor) -> Metrics:
        """Metrics of the mean; correlation of the spread with what was observed; likelihood.

        `nll` is the mean negative log-likelihood of the ratings in the user's unit.
        """
        score, spread = self.predict(output).unbind(dim=-1)
        mean, variance, count = target.unbind(dim=-1)
        _, scale = self.unit
        constant = math.log(2 * math.pi) / 2 + math.log(scale)
        loss = self.row_loss(output.double(), target.double())
        return {
            **score_metrics(score, mean),
            "spread_pearson": spread_pearson(spread, variance=variance, count=count),
            "nll": float(loss.mean()) + constant if len(target) else None,
        }

    def _adopted_head(self, held: Task, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """In the unit of this task; the spread is the same but for its bound, which the unit moves."""
        assert isinstance(held, RegressionWithSpread)
        factor, shift = self.change_of_unit(held)
        factors, shifts = (
            bias.new_tensor([factor, 1]),
            bias.new_tensor([shift, 2 * math.log(factor)]),
        )
        return weight * factors[:, None], bias * factors + shifts

    def _written(self, value: str) -> list[float]:
        return [read_number(part) for part in split_cell(value)]

    def _outputs(self) -> tuple[object, ...]:
        return (self.low, self.high)


def pooled(parts: Sequence[tuple[float, ...]]) -> tuple[float, float, float]:
    """Mean, population variance and number of several groups of ratings together.

    Args:
        parts: mean, variance and number of each group.
    """
    if len(parts) == 1:
        mean, variance, count = parts[0]
        return mean, variance, count
    count = sum(part[2] for part in parts)
    # the mean of equal means must be that mean to the bit, or equal ratings would get a spread
    equal = len({part[0] for part in parts}) == 1
    mean = parts[0][0] if equal else math.fsum(n * m for m, _, n in parts) / count
    variance = math.fsum(n * (v + (m - mean) ** 2) for m, v, n in parts) / count
    return mean, variance, count


def described(mean: float, variance: float, count: float) -> str:
    """Mean, standard deviation and number of ratings for people."""
    if count == 1:
        return f"{mean:g} (1 rating)"
    return f"{mean:g} ± {math.sqrt(_unbiased(variance, count)):g} ({count:g} ratings)"


def spread_pearson(spread: Tensor, *, variance: Tensor, count: Tensor) -> float | None:
    """Correlation of predicted spreads with those that sentences' ratings have.

    The observed spread of a sentence is the unbiased estimate from its ratings, so there have to be
    two of them.

    Args:
        spread: predicted, (R,).
        variance: population variance of the ratings, (R,).
        count: number of the ratings, (R,).
    """
    several = count > 1
    observed = _unbiased(variance[several].double(), count[several].double()) ** 0.5
    return correlations(spread[several].double(), observed)["pearson"]


def _unbiased(variance: Any, count: Any) -> Any:
    """The estimate of the variance from a sample's own."""
    return variance * count / (count - 1)


def _moments(output: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance in units of `scale`, (R,) each; the latter smoothly bounded."""
    bound = _MOST_LOG_VARIANCE
    return output[:, 0], bound * (output[:, 1] / bound).tanh()
