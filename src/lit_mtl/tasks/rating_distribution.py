"""Several ratings a sentence on a scale of levels: how they are spread over the levels.

Shapes: R rows, K levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from lit_mtl.errors import ConfigError
from lit_mtl.tasks.base import Metrics, Target, Targets, Task
from lit_mtl.tasks.cells import read_whole, refuse_many_levels, split_cell
from lit_mtl.tasks.regression_with_spread import described, spread_pearson
from lit_mtl.tasks.scores import ScoreTask, histogram, score_metrics

_LEAST_WIDTH = 1e-3
"""In levels: an interval of a prediction that is sure has a width too."""


@dataclass(frozen=True, kw_only=True)
class RatingDistribution(ScoreTask):
    """Several ratings a sentence, whose shares of the levels a head predicts.

    The head gives a logit for each level, and the loss of a row is the divergence of the predicted
    shares from those of its ratings (label distribution learning: Geng 2016). So every sentence
    counts the same, however many ratings it has, and two camps of raters are another thing than
    agreement in the middle. The score is the mean of the predicted shares, which often is learned
    better this way than by itself (Imani & White 2018, Improving regression performance with
    distributional losses). Each logit has a fixed offset, with which an output of 0 stands for the
    shares of all training ratings.

    A cell has its ratings, whole numbers, separated by `|`, or is a JSON array of them; a sentence may
    also stand in several rows. All its ratings are taken together.

    The interval around the score holds the mean of as many ratings as sentences of the validation
    split have; its unit is the standard deviation of the predicted shares.

    Args:
        kind: names this kind of task in a config.
        weight: factor of this task's loss in the sum of the losses; see `Task`.
        low: the lowest level, a whole number. None: the lowest one of the data.
        high: the highest level, a whole number. None: the highest one of the data.
        span: the range where the data say a part of it; measured.
        prior: share of each level at an output of 0. None: that of the training ratings, each
            sentence counting the same.
        coverage: probability with which the interval around a prediction holds the mean of a
            sentence's ratings, in (0, 1).
        radius: half the width of that interval in units of the predicted spread. None: fitted on the
            validation split at the end of a fit; until then there is no interval.
    """

    kind: Literal["rating_distribution"] = "rating_distribution"
    prior: tuple[float, ...] | None = None

    target_columns: ClassVar[tuple[str, ...]] = ("ratings",)
    primary_metric: ClassVar[str] = "pearson"

    def __post_init__(self) -> None:
        """Check the levels and their shares."""
        super().__post_init__()
        for end in (self.low, self.high):
            if end is not None and end != round(end):
                raise ConfigError(
                    f"Expected whole levels, but got low={self.low}, high={self.high}. Ratings in "
                    "between are of the kind regression_with_spread"
                )
        if not self.is_open:
            refuse_many_levels(*self.range, otherwise="regression_with_spread")
        if self.prior is not None:
            object.__setattr__(self, "prior", tuple(self.prior))
            if not all(share > 0 for share in self.prior) or (
                not self.is_open and len(self.prior) != len(self.levels)
            ):
                raise ConfigError(
                    f"Expected `prior` to have a share above 0 for each level, but got {self.prior}"
                )

    @property
    def levels(self) -> range:
        """All levels, once they are known."""
        low, high = self.range
        return range(round(low), round(high) + 1)

    @property
    def output_dim(self) -> int:
        """A logit for each level, K."""
        return len(self.levels)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Number of ratings of each level."""
        return (len(self.levels),)

    def encode(self, value: str) -> tuple[float, ...]:
        """Count the ratings of each level."""
        ratings = self._written(value)
        if not ratings:
            raise ValueError(f"expected at least one rating; found {value!r}")
        counts = [0.0] * len(self.levels)
        for rating in ratings:
            if round(rating) not in self.levels:
                raise ValueError(
                    f"expected ratings from {self.levels[0]} to {self.levels[-1]}; found {rating:g}"
                )
            counts[self.levels.index(round(rating))] += 1
        return tuple(counts)

    def describe(self, target: Target) -> str:
        """Mean, standard deviation and number of the ratings."""
        assert isinstance(target, tuple)
        mean, variance, count = _moments(torch.tensor([target], dtype=torch.float64), self.levels)
        return described(float(mean), float(variance), float(count))

    def merge(self, targets: Sequence[Target]) -> Target:
        """All ratings of a sentence."""
        rows = [target for target in targets if isinstance(target, tuple)]
        return tuple(map(sum, zip(*rows, strict=True)))

    def fit(self, targets: Targets) -> Self:
        """Measure the shares of the training ratings where they were not declared.

        A level without a rating gets the share of one sentence more, spread over all levels.
        """
        counts = np.asarray(targets, dtype=np.float64).reshape(-1, len(self.levels))
        if not len(counts) or self.prior is not None:
            return self
        shares = counts / counts.sum(axis=1, keepdims=True)
        total = [math.fsum(column) + 1 / len(self.levels) for column in shares.T.tolist()]
        return replace(self, prior=tuple(each / (len(counts) + 1) for each in total))

    def summary(self, targets: Targets) -> dict[str, Any]:
        """Number of mean ratings by bins, and the number of ratings."""
        counts = torch.tensor(np.asarray(targets, np.float64)).reshape(-1, len(self.levels))
        mean, _, number = _moments(counts, self.levels)
        return {"histogram": histogram(mean.numpy()), "ratings": int(number.sum())}

    def row_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Divergence of the predicted shares from those of the ratings: (R, K) and (R, K) to (R,).

        It is the Kullback-Leibler divergence, 0 where they are the same: the mean negative
        log-likelihood of the ratings, less the least that it can be.
        """
        shares = target / target.sum(dim=-1, keepdim=True)
        likelihood = (shares * self._logits(output).log_softmax(dim=-1)).sum(dim=-1)
        least: Tensor = torch.special.entr(shares).sum(dim=-1)
        return -likelihood - least

    def _logits(self, output: Tensor) -> Tensor:
        return output if self.prior is None else output + output.new_tensor(self.prior).log()

    def predict(self, output: Tensor) -> Tensor:
        """Share of each level, (R, K)."""
        return self._logits(output).softmax(dim=-1)

    def decode(self, prediction: Tensor) -> dict[str, Any]:
        """The score, the spread of single ratings around it, the share of each level, its interval."""
        score, spread = (float(each) for each in self.score_and_width(prediction))
        shares = dict(zip(map(str, self.levels), prediction.tolist(), strict=True))
        interval = self.decoded_interval(prediction)
        return {"score": score, "spread": spread, "shares": shares, **interval}

    def score_and_width(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the predicted shares."""
        mean, variance, _ = _moments(prediction, self.levels)
        return self.in_range(mean), variance.clamp(min=_LEAST_WIDTH**2).sqrt()

    def true_score(self, target: Tensor) -> Tensor:
        """The mean of the ratings."""
        return _moments(target, self.levels)[0]

    def assumed_deviation(self, residuals: Tensor) -> float:
        """One spread: what the head says of a single rating."""
        return 1.0

    def metrics(self, output: Tensor, target: Tensor) -> Metrics:
        """Metrics of the mean, correlation of the spread with the observed one, and two distances.

        `wasserstein` is the mean distance of the predicted shares from those of the ratings, in
        levels: how far ratings would have to be moved, on average, to make one of the other
        (Wasserstein-1). `nll` is the mean negative log-likelihood of the ratings.
        """
        logs = self._logits(output.double()).log_softmax(dim=-1)
        prediction = logs.exp()
        mean, variance, count = _moments(target.double(), self.levels)
        score, spread = self.score_and_width(prediction)
        shares = target.double() / count.unsqueeze(-1)
        distance = (prediction - shares).cumsum(dim=-1).abs().sum(dim=-1)
        likelihood = (shares * logs).sum(dim=-1)
        return {
            **score_metrics(score, mean),
            "spread_pearson": spread_pearson(spread, variance=variance, count=count),
            "wasserstein": float(distance.mean()) if len(target) else None,
            "nll": -float(likelihood.mean()) if len(target) else None,
        }

    def _written(self, value: str) -> list[float]:
        return [
            float(read_whole(part, otherwise="regression_with_spread"))
            for part in split_cell(value)
        ]

    def _adopted_head(self, held: Task, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """With this task's offsets of the logits, where the levels are the same."""
        assert isinstance(held, RatingDistribution)
        self.refuse_other_range(held)
        return weight, held._logits(bias) - self._logits(torch.zeros_like(bias))

    def _outputs(self) -> tuple[object, ...]:
        return self.span or (self.low, self.high)


def _moments(weights: Tensor, levels: range) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and population variance of levels with weights (R, K), and their sum: (R,) each."""
    places = weights.new_tensor(list(levels))
    total = weights.sum(dim=-1)
    mean = (weights * places).sum(dim=-1) / total
    variance = (weights * (places - mean.unsqueeze(-1)).square()).sum(dim=-1) / total
    return mean, variance, total
