"""What a split's outputs say row by row: errors, correlation, reliability, suspicious targets.

Shapes: R labelled rows, O outputs of a head, S the shape of a target, C classes, L labels.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lit_mtl.calibration import LEAST_ROWS, checked_across, claims_of
from lit_mtl.tasks import Classification, Multilabel, Ordinal
from lit_mtl.tasks.base import Claims, Task
from lit_mtl.tasks.scores import ScoreTask, correlations

_COVERAGES = [number / 10 for number in range(1, 10)] + [0.95]
_BINS = 10
_OUTLIER = 3.0
"""Residuals from here on are suspicious, in robust standard deviations."""


@dataclass(frozen=True, kw_only=True)
class SplitRows:
    """The labelled rows of one task in one split whose outputs are numbers.

    Args:
        task: the task.
        output: of the head, (R, O).
        target: the encoded targets, (R, S).
        row_ids: their places in the split, (R,).
    """

    task: Task
    output: Tensor
    target: Tensor
    row_ids: Tensor

    @classmethod
    def finite(cls, task: Task, output: Tensor, target: Tensor, row_ids: Tensor) -> "SplitRows":
        """The rows without those of a diverged model."""
        fine = output.isfinite().all(dim=-1)
        return cls(task=task, output=output[fine], target=target[fine], row_ids=row_ids[fine])

    def __len__(self) -> int:
        return len(self.target)

    def losses(self) -> Tensor:
        """Loss of every row, (R,)."""
        return self.task.row_loss(self.output, self.target)

    def scores(self) -> tuple[Tensor, Tensor] | None:
        """Predicted and true scores, (R,) and (R,); those of an ordinal task are levels."""
        if isinstance(self.task, Ordinal):
            probabilities = self.task.predict(self.output)
            return probabilities @ probabilities.new_tensor(self.task.levels), self.target.float()
        if not isinstance(self.task, ScoreTask):
            return None
        score, _ = self.task.score_and_width(self.task.predict(self.output))
        return score, self.task.true_score(self.target)

    def errors(self) -> Tensor:
        """Predicted less true score, or the share of the row's labels that are wrong, (R,)."""
        scores = self.scores()
        if scores is not None:
            return scores[0] - scores[1]
        if isinstance(self.task, Multilabel):
            predicted = self.task.predict(self.output) > self.task.threshold
            return (predicted != (self.target > 0)).float().mean(dim=-1)
        return (self.output.argmax(dim=-1) != self.target).float()

    def chances(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each label: its probability and whether it is there, (R,) and (R,)."""
        if not isinstance(self.task, Classification | Multilabel):
            return {}
        stated = self.task.predict(self.output)
        one_hot = isinstance(self.task, Classification)
        return {
            name: (stated[:, place], self.target == place if one_hot else self.target[:, place] > 0)
            for place, name in enumerate(self.task.names)
        }

    def suspects(self) -> tuple[Tensor, Tensor]:
        """Rows whose target the model denies with confidence, and how confident it is: (N,), (N,).

        Of labels after confident learning (Northcutt et al. 2021, arXiv:1911.00068): a row is one
        where another label is likelier and at least as probable as it is, on average, on rows that
        have it. Of scores: the residual, in widths, is 3 or more robust standard deviations.
        The confidence is that probability, or those standard deviations; the largest come first.
        """
        confidence = self._confidence() if len(self) else torch.zeros(0)
        found = confidence.nonzero()[:, 0]
        order = confidence[found].argsort(descending=True, stable=True)
        return found[order], confidence[found][order]

    def _confidence(self) -> Tensor:
        """Confidence of the denial of each row's target, 0 where there is none, (R,)."""
        if isinstance(self.task, Multilabel):
            true, chance = self.target > 0, self._stated()
            denied = torch.where(true, 1 - chance, chance)
            enough = torch.where(true, _mean(1 - chance, ~true), _mean(chance, true))
            return (denied * ((denied >= enough) & (denied > 0.5))).amax(dim=-1)
        if isinstance(self.task, ScoreTask):
            score, width = self.task.score_and_width(self.task.predict(self.output))
            residuals = (score - self.task.true_score(self.target)).abs() / width
            deviation = 1.4826 * residuals.median()
            distance = residuals / deviation if deviation > 0 else torch.zeros_like(residuals)
            return distance * (distance >= _OUTLIER)
        stated = self._stated()
        place = self.target - (self.task.levels.start if isinstance(self.task, Ordinal) else 0)
        own = torch.nn.functional.one_hot(place, stated.shape[-1]) > 0
        confidence, likeliest = stated.max(dim=-1)
        enough = _mean(stated, own)[likeliest]
        return confidence * ((likeliest != place) & (confidence >= enough))

    def _stated(self) -> Tensor:
        return self.task.predict(self.output)

    def reliability(self, *, calibrated: bool = False) -> list[tuple[float, float, int]]:
        """Stated and observed frequency, and the number of statements, from low to high.

        Of probabilities in bins of a tenth; of scores for intervals of several coverages.

        Args:
            calibrated: as after calibration, each fifth of the rows by what was fitted on the others.
                Empty where there are too few rows for it.
        """
        if calibrated and len(self) < LEAST_ROWS:
            return []
        tasks = [self.task]
        if isinstance(self.task, ScoreTask):
            # a radius is that of one coverage
            tasks = [replace(self.task, coverage=each, radius=None) for each in _COVERAGES]
        read = checked_across if calibrated else claims_of
        found = [read(task, self.output, self.target) for task in tasks]
        return [point for claims in found if claims is not None for point in _binned(claims)]

    def shown(self, position: int) -> tuple[str, str]:
        """Target and prediction of one row for people."""
        target = self.target[position]
        value: Any = tuple(target.tolist()) if target.ndim else target.item()
        described = self.task.describe(value)
        number = isinstance(value, float) and not isinstance(self.task, Ordinal)
        prediction = self.task.predict(self.output[position : position + 1])[0]
        return f"{value:.4g}" if number else described, stated(self.task, prediction)


def stated(task: Task, prediction: Tensor) -> str:
    """One row of `Task.predict` for people."""
    found = task.decode(prediction)
    if "label" in found:
        return f"{found['label']} ({found['probabilities'][found['label']]:.2f})"
    if "labels" in found:
        chances = (f"{name} ({found['probabilities'][name]:.2f})" for name in found["labels"])
        return ", ".join(chances) or "none"
    spread = f" ± {found['spread']:.2f}" if "spread" in found else ""
    return f"{found['score']:.2f}{spread}"


def evenly(rows: int, *, count: int) -> list[int]:
    """At most so many row numbers out of all, at even distances."""
    count = min(rows, count)
    return [number * rows // count for number in range(count)]


def correlation_interval(one: Tensor, other: Tensor) -> tuple[float, float, float] | None:
    """Pearson correlation of (R,) with (R,) and its 95 % interval by Fisher's z; None without one."""
    r = correlations(one, other)["pearson"]
    if r is None or len(one) < 4:
        return None
    z, reach = math.atanh(min(max(r, -1 + 1e-9), 1 - 1e-9)), 1.96 / math.sqrt(len(one) - 3)
    return r, math.tanh(z - reach), math.tanh(z + reach)


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of some rows (Wilson 1927)."""
    z = 1.96
    whole = 1 + z**2 / count
    middle = share + z**2 / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, (middle - reach) / whole), min(1.0, (middle + reach) / whole)


def _binned(claims: Claims) -> list[tuple[float, float, int]]:
    chance, came_true = (part.double() for part in claims)
    place = (chance * _BINS).long().clamp(0, _BINS - 1)
    return [
        (float(chance[inside].mean()), float(came_true[inside].mean()), int(inside.sum()))
        for inside in (place == number for number in range(_BINS))
        if inside.any()
    ]


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values of each column; infinite where there are none."""
    count = chosen.sum(dim=0)
    mean = (values * chosen).sum(dim=0) / count
    return torch.where(count > 0, mean, torch.full_like(mean, math.inf))
