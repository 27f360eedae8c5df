"""Ordered levels, such as one to five stars.

Shapes: R rows, K levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lit_mtl.errors import ConfigError
from lit_mtl.tasks.base import Claims, Metrics, Target, Targets
from lit_mtl.tasks.cells import read_whole, refuse_many_levels
from lit_mtl.tasks.probabilities import ProbabilityTask
from lit_mtl.tasks.scores import correlations, number_of


@dataclass(frozen=True, kw_only=True)
class Ordinal(ProbabilityTask):
    """Whole levels in an order, learned by the conditional probability of going one level higher.

    For each level but the last the head says how likely a sentence that reaches it goes beyond it.
    The product of these is the probability of reaching a level, which so cannot rise with the level;
    no thresholds have to be kept in order. The loss is the negative log-likelihood of the level: that
    is CORN (Shi, Cao & Raschka 2023, Deep neural networks for rank-consistent ordinal regression
    based on conditional probabilities), summed over the levels that a sentence reaches. Here the
    logits get fixed offsets with which an output of 0 means that all levels are equally likely, so
    the loss begins at log K.

    The temperature divides the log-probabilities of the levels, not the head's logits: so their order
    stays, and with it the likeliest level, whatever the offsets are.

    Args:
        kind: names this kind of task in a config.
        weight: factor of this task's loss in the sum of the losses; see `Task`.
        temperature: fitted on the validation split. See `ProbabilityTask`.
        low: the lowest level. None: the lowest one of the data.
        high: the highest level. None: the highest one of the data.
    """

    kind: Literal["ordinal"] = "ordinal"
    low: int | None = None
    high: int | None = None

    target_columns: ClassVar[tuple[str, ...]] = ("level",)
    primary_metric: ClassVar[str] = "spearman"
    """Of the expected level. Unlike kappa and accuracy it also tells apart heads whose likeliest
    level is always the same one, as it is early in training and with rare levels."""

    def __post_init__(self) -> None:
        """Check the levels."""
        super().__post_init__()
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ConfigError(
                f"Expected levels with `low` < `high`, but got low={self.low}, high={self.high}"
            )
        if self.low is not None and self.high is not None:
            refuse_many_levels(self.low, self.high, otherwise="regression")

    @property
    def is_open(self) -> bool:
        """Whether the lowest or the highest level is still to be found in the data."""
        return self.low is None or self.high is None

    @property
    def levels(self) -> range:
        """All levels, once they are known."""
        if self.low is None or self.high is None:
            raise ConfigError("The levels of an ordinal task are not known before its data")
        return range(self.low, self.high + 1)

    @property
    def output_dim(self) -> int:
        """One logit for each level but the last, K - 1."""
        return len(self.levels) - 1

    @property
    def target_dtype(self) -> torch.dtype:
        """Levels as the user counts them."""
        return torch.int64

    @property
    def classes(self) -> tuple[str, ...]:
        """The levels."""
        return tuple(map(str, self.levels))

    def encode(self, value: str) -> int:
        """Read a whole level within the range."""
        level = read_whole(value, otherwise="regression")
        if level not in self.levels:
            raise ValueError(f"expected a level from {self.low} to {self.high}; found {value}")
        return level

    def describe(self, target: Target) -> str:
        """The level."""
        return str(int(number_of(target)))

    def merge(self, targets: Sequence[Target]) -> Target:
        """The median of a sentence's levels, the lower one of two: it is a level itself."""
        return sorted(targets, key=number_of)[(len(targets) - 1) // 2]

    def resolve(self, values: Sequence[str]) -> Self:
        """Take the lowest and the highest level from the data where they were not declared."""
        if not self.is_open:
            return self
        levels = [level for value in set(values) if (level := _level_or_none(value)) is not None]
        if not levels:
            return self
        low = min(levels) if self.low is None else self.low
        high = max(levels) if self.high is None else self.high
        if not low < high:
            raise ConfigError(
                f"Expected levels that differ, to find their range, but got {min(levels)} to "
                f"{max(levels)}, with the declared low={self.low}, high={self.high}"
            )
        return replace(self, low=low, high=high)

    def summary(self, targets: Targets) -> dict[str, Any]:
        """Number of targets of each level."""
        above = np.asarray(targets, np.int64) - self.levels.start
        counts = np.bincount(above, minlength=len(self.levels)).tolist()
        return {"labels": dict(zip(map(str, self.levels), counts, strict=True))}

    def logits(self, output: Tensor) -> Tensor:
        """Log-probability of each level, (R, K)."""
        beyond = len(self.levels) - 1
        offsets = output.new_tensor([math.log(beyond - step) for step in range(beyond)])
        logits = output + offsets
        none = torch.zeros_like(output[:, :1])  # no `len`: an exported graph would keep that number
        reached = torch.cat([none, functional.logsigmoid(logits).cumsum(dim=-1)], dim=-1)
        stays = torch.cat([functional.logsigmoid(-logits), none], dim=-1)
        return reached + stays

    def row_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Negative log-likelihood of every row's level: (R, K - 1) and levels (R,) to (R,)."""
        return functional.nll_loss(
            self.logits(output), target - self.levels.start, reduction="none"
        )

    def predict(self, output: Tensor) -> Tensor:
        """Probability of each level, (R, K)."""
        return self.tempered(output).softmax(dim=-1)

    def decode(self, prediction: Tensor) -> dict[str, Any]:
        """The expected level, the likeliest one, and the probability of each."""
        probabilities = prediction.tolist()
        expected = sum(level * p for level, p in zip(self.levels, probabilities, strict=True))
        return {
            "score": min(max(expected, self.levels[0]), self.levels[-1]),
            "level": self.levels[int(prediction.argmax())],
            "probabilities": dict(zip(self.classes, probabilities, strict=True)),
        }

    def likelihood_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy of the levels: (R, K) and levels (R,) to a scalar."""
        return functional.cross_entropy(logits, target - self.levels.start)

    def claims(self, output: Tensor, target: Tensor) -> Claims:
        """The probability of the likeliest level, and whether it is the right one."""
        stated, place = self.predict(output).max(dim=-1)
        return stated, (place + self.levels.start == target).to(stated.dtype)

    def metrics(self, output: Tensor, target: Tensor) -> Metrics:
        """Spearman correlation of the expected level; kappa, accuracy and error of the likeliest.

        Cohen's kappa with quadratic weights needs targets of more than one level. The expected level
        is that of the probabilities without the temperature.
        """
        # here and not on top: who only predicts needs no torchmetrics
        from torchmetrics.functional.classification import (
            multiclass_accuracy,
            multiclass_cohen_kappa,
        )

        if not len(target):
            return dict.fromkeys(("spearman", "kappa_quadratic", "accuracy", "mae"))
        probabilities = self.logits(output).exp()
        ranks = torch.arange(len(self.levels), dtype=probabilities.dtype, device=output.device)
        likeliest, true = probabilities.argmax(dim=-1), target - self.levels.start
        count = len(self.levels)
        varies = len(true.unique()) > 1
        kappa = multiclass_cohen_kappa(likeliest, true, count, weights="quadratic")
        return {
            "spearman": correlations(probabilities @ ranks, true.to(ranks))["spearman"],
            "kappa_quadratic": float(kappa) if varies else None,
            "accuracy": float(multiclass_accuracy(likeliest, true, count, average="micro")),
            "mae": float((likeliest - true).abs().double().mean()),
        }

    def confusion(self, output: Tensor, target: Tensor) -> list[list[int]]:
        """Counts (K, K): true level by row, likeliest level by column."""
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        likeliest = self.logits(output).argmax(dim=-1)
        counts: list[list[int]] = multiclass_confusion_matrix(
            likeliest, target - self.levels.start, len(self.levels)
        ).tolist()
        return counts

    def _outputs(self) -> tuple[object, ...]:
        return (self.low, self.high)


def _level_or_none(value: str) -> int | None:
    try:
        return read_whole(value, otherwise="regression")
    except ValueError:
        return None
