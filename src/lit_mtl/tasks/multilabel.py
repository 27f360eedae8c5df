"""Several labels a sentence, each of them there or not.

Shapes: R rows, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lit_mtl.errors import ConfigError
from lit_mtl.tasks.base import Claims, Metrics, Target, Targets
from lit_mtl.tasks.cells import join_cell, split_cell
from lit_mtl.tasks.labels import LabelTask, composed


@dataclass(frozen=True, kw_only=True)
class Multilabel(LabelTask):
    """Any number of labels, learned by the binary cross-entropy of each.

    The loss of a row is the mean over the labels, so it begins at log 2 whatever their number.

    A cell has its labels separated by `|`, or is a JSON array of them; `[]` is a sentence that has
    none, and an empty cell is a missing target as everywhere. The labels of all rows of a sentence
    are taken together, so a sentence may stand in several `<label>.txt` files.

    Args:
        kind: names this kind of task in a config.
        weight: factor of this task's loss in the sum of the losses; see `Task`.
        labels: the labels in the order of the head's outputs. None: those found in the files,
            sorted by name.
        temperature: divides the logits; fitted on the validation split. See `ProbabilityTask`.
        threshold: a label is predicted where its probability is larger, in (0, 1): the one that is
            stated, so after calibration the calibrated one. At 0.5 calibration changes no label. At
            another threshold it may, and the metrics stay those of the head as it was trained.
        pos_weight: label to how many times a row that has it counts as much as one that does not;
            or `balanced`: the training rows without the label over those with it. For r times, the
            losses are multiplied by (1 + r) / 2 and (1 + r) / 2r, whose mean is 1 over the rows for
            which r is balanced.
    """

    kind: Literal["multilabel"] = "multilabel"
    threshold: float = 0.5
    pos_weight: Literal["balanced"] | dict[str, float] | None = None

    target_columns: ClassVar[tuple[str, ...]] = ("labels",)
    primary_metric: ClassVar[str] = "f1_macro"
    least_labels: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        if not 0 < self.threshold < 1:
            raise ConfigError(
                f"Expected argument `threshold` to be in (0, 1), but got {self.threshold}"
            )
        if isinstance(self.pos_weight, str) and self.pos_weight != "balanced":
            raise ConfigError(
                "Expected argument `pos_weight` to be balanced, or a weight for each label, but got "
                f"{self.pos_weight!r}"
            )
        if isinstance(self.pos_weight, dict):
            self.refuse_other_weights("pos_weight", self.pos_weight)

    @property
    def target_dtype(self) -> torch.dtype:
        """Floats, as the cross-entropy takes them."""
        return torch.float32

    @property
    def target_shape(self) -> tuple[int, ...]:
        """1 or 0 for each label, (L,)."""
        return (self.output_dim,)

    def encode(self, value: str) -> tuple[float, ...]:
        """1 for each label that the cell names, 0 for the others."""
        found = set(map(composed, split_cell(value)))
        if unknown := sorted(found - set(self.names)):
            raise ValueError(
                f"expected labels out of {', '.join(self.names)}; found {', '.join(unknown)}"
            )
        return tuple(float(name in found) for name in self.names)

    def describe(self, target: Target) -> str:
        """The labels as a cell has them."""
        assert isinstance(target, tuple)
        return join_cell([name for name, has in zip(self.names, target, strict=True) if has])

    def merge(self, targets: Sequence[Target]) -> Target:
        """The labels of all rows; they never contradict each other."""
        rows = [target for target in targets if isinstance(target, tuple)]
        return tuple(map(max, zip(*rows, strict=True)))

    def resolve(self, values: Sequence[str]) -> Self:
        """Take the labels from the data, sorted by name, where none were declared."""
        if self.labels:
            return self
        labels: set[str] = set()
        broken = False
        for value in set(values):
            try:
                labels.update(map(composed, split_cell(value)))
            except ValueError:
                broken = True
        return self if broken and not labels else replace(self, labels=tuple(sorted(labels)))

    def fit(self, targets: Targets) -> Self:
        """Measure balanced weights on the labelled training rows."""
        if self.pos_weight != "balanced":
            return self
        array = np.asarray(targets, dtype=np.float64).reshape(-1, self.output_dim)
        positive = array.sum(axis=0)
        negative = len(array) - positive
        for count, what in ((positive, "with"), (negative, "without")):
            if not count.all():
                missing = [name for name, n in zip(self.names, count, strict=True) if not n]
                raise ConfigError(
                    f"Expected training rows with and without every label for a balanced "
                    f"`pos_weight`, but got none {what} {', '.join(missing)}"
                )
        ratios = (negative / positive).tolist()
        return replace(self, pos_weight=dict(zip(self.names, ratios, strict=True)))

    def summary(self, targets: Targets) -> dict[str, Any]:
        """Number of targets with each label, and of those with none."""
        array = np.asarray(targets, dtype=np.int64).reshape(-1, self.output_dim)
        counts = dict(zip(self.names, array.sum(axis=0).tolist(), strict=True))
        return {"labels": counts, "without_label": int((~array.any(axis=1)).sum())}

    def row_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean binary cross-entropy over the labels: logits and targets (R, L) to (R,)."""
        weight = None
        if self.pos_weight is not None:
            if isinstance(self.pos_weight, str):
                raise ConfigError("A balanced `pos_weight` is not known before the training data")
            ratio = output.new_tensor([self.pos_weight[name] for name in self.names])
            weight = torch.where(target > 0, (1 + ratio) / 2, (1 + ratio) / (2 * ratio))
        loss = functional.binary_cross_entropy_with_logits(
            output, target.to(output.dtype), weight=weight, reduction="none"
        )
        return loss.mean(dim=-1)

    def predict(self, output: Tensor) -> Tensor:
        """Probabilities (R, L)."""
        return self.tempered(output).sigmoid()

    def decode(self, prediction: Tensor) -> dict[str, Any]:
        """The labels above the threshold, and the probability of each."""
        probabilities = dict(zip(self.names, prediction.tolist(), strict=True))
        labels = [name for name, value in probabilities.items() if value > self.threshold]
        return {"labels": labels, "probabilities": probabilities}

    def likelihood_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean binary cross-entropy over rows and labels: (R, L) and (R, L) to a scalar."""
        return functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))

    def claims(self, output: Tensor, target: Tensor) -> Claims:
        """The probability of each label, and whether the row has it, (R * L,).

        These and not the probabilities of the decisions, max(p, 1 - p): among them a label that is
        stated too often and one that is stated too rarely would make up for each other.
        """
        stated = self.predict(output).flatten()
        return stated, target.flatten().to(stated.dtype)

    def metrics(self, output: Tensor, target: Tensor) -> Metrics:
        """Micro and macro F1 at the threshold, macro AUROC, and the share of rows fully right.

        A label that occurs neither in the targets nor in the predictions has no F1, and one that all
        or no rows have has no AUROC: they are left out of the macro means. The probabilities are
        those without the temperature.
        """
        # here and not on top: who only predicts needs no torchmetrics
        from torchmetrics.functional.classification import binary_auroc

        if not len(target):
            return dict.fromkeys(("f1_macro", "f1_micro", "auroc_macro", "subset_accuracy"))
        predicted = output.sigmoid() > self.threshold
        truth = target > 0
        right, wrong, missed = _outcomes(predicted, truth)
        seen = right + wrong + missed > 0
        f1 = 2 * right / (2 * right + wrong + missed)
        both = truth.any(dim=0) & ~truth.all(dim=0)
        # float64, because the probabilities of confident logits are all 1 in float32
        auroc = [
            float(binary_auroc(output[:, label].double().sigmoid(), truth[:, label].long()))
            for label in both.nonzero()[:, 0].tolist()
        ]
        micro = 2 * right.sum() / (2 * right + wrong + missed).sum()
        return {
            "f1_macro": float(f1[seen].mean()) if seen.any() else None,
            "f1_micro": float(micro) if seen.any() else None,
            "auroc_macro": fmean(auroc) if auroc else None,
            "subset_accuracy": float((predicted == truth).all(dim=-1).double().mean()),
        }

    def _outputs(self) -> tuple[object, ...]:
        return (self.labels, self.threshold)


def _outcomes(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """True positives, false positives and false negatives of each label, (L,)."""
    right = (predicted & truth).sum(dim=0).double()
    return right, predicted.sum(dim=0) - right, truth.sum(dim=0) - right
