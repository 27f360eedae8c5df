"""Classification of a sentence into one of several labels.

Shapes: R rows, C classes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lit_mtl.errors import ConfigError
from lit_mtl.tasks.base import Claims, Metrics, Target, Targets
from lit_mtl.tasks.labels import LabelTask, composed

_POINT_ZERO = re.compile(r"(-?\d+)\.0+")
_LIST = re.compile(r'\[(".*")?\]', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Classification(LabelTask):
    """One label out of several, learned by cross-entropy.

    With class weights, the loss of a row is its cross-entropy times the weight of its label, and the
    mean is taken over the rows, not over their weights. The weights are scaled so that their mean
    over the labelled training rows is 1: so the loss of a head that knows nothing is log C still,
    and every row counts the same whichever rows share its batch or its device. Torch's own weighted
    mean divides by the sum of the weights in the batch, which cancels them where a batch has one
    label only.

    Args:
        kind: names this kind of task in a config.
        weight: factor of this task's loss in the sum of the losses; see `Task`.
        labels: the labels in the order of the head's outputs. None: those found in the files,
            sorted by name.
        temperature: divides the logits; fitted on the validation split. See `ProbabilityTask`.
        label_smoothing: share of the target spread evenly over all labels, in [0, 1).
        class_weights: label to the factor of its rows' losses, or `balanced`: the number of labelled
            training rows over the number of labels and the rows of this label.
    """

    kind: Literal["classification"] = "classification"
    label_smoothing: float = 0.0
    class_weights: Literal["balanced"] | dict[str, float] | None = None

    target_columns: ClassVar[tuple[str, ...]] = ("label",)
    primary_metric: ClassVar[str] = "accuracy"
    least_labels: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"Expected argument `label_smoothing` to be in [0, 1), but got {self.label_smoothing}"
            )
        if isinstance(self.class_weights, str) and self.class_weights != "balanced":
            raise ConfigError(
                "Expected argument `class_weights` to be balanced, or a weight for each label, but "
                f"got {self.class_weights!r}"
            )
        if isinstance(self.class_weights, dict):
            self.refuse_other_weights("class_weights", self.class_weights)

    @property
    def target_dtype(self) -> torch.dtype:
        """Class indices."""
        return torch.int64

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels."""
        return self.names

    def encode(self, value: str) -> int:
        """The index of a label."""
        if _LIST.fullmatch(value):
            raise ValueError(
                f"expected one label; found the list {value}. Several labels a sentence are of the "
                "kind multilabel"
            )
        value = composed(value)
        label = value if value in self.names else _without_point(value)
        if label not in self.names:
            raise ValueError(f"expected a label out of {', '.join(self.names)}; found {value!r}")
        return self.names.index(label)

    def describe(self, target: Target) -> str:
        """The label."""
        assert not isinstance(target, tuple)
        return self.names[int(target)]

    def merge(self, targets: Sequence[Target]) -> Target | None:
        """The label on which all rows agree."""
        return targets[0] if len(set(targets)) == 1 else None

    def resolve(self, values: Sequence[str]) -> Self:
        """Take the labels from the data, sorted by name, where none were declared."""
        found = sorted({_without_point(composed(value)) for value in set(values)})
        return self if self.labels else replace(self, labels=tuple(found))

    def fit(self, targets: Targets) -> Self:
        """Measure the class weights on the labelled training rows."""
        if self.class_weights is None:
            return self
        counts = np.bincount(np.asarray(targets, dtype=np.int64), minlength=self.output_dim)
        rows = dict(zip(self.names, counts.tolist(), strict=True))
        if self.class_weights == "balanced":
            missing = [label for label, count in rows.items() if not count]
            if missing:
                raise ConfigError(
                    "Expected training rows of every label for balanced class weights, but got none "
                    f"of {', '.join(missing)}"
                )
            weights = {label: 1 / count for label, count in rows.items()}
        else:
            weights = dict(self.class_weights)
        total = sum(weights[label] * count for label, count in rows.items())
        scale = sum(rows.values()) / total if total else 1.0
        return replace(self, class_weights={name: weights[name] * scale for name in self.names})

    def summary(self, targets: Targets) -> dict[str, Any]:
        """Number of targets of each label."""
        counts = np.bincount(np.asarray(targets, np.int64), minlength=self.output_dim)
        return {"labels": dict(zip(self.names, counts.tolist(), strict=True))}

    def row_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of every row times its label's weight: (R, C) and indices (R,) to (R,)."""
        loss = functional.cross_entropy(
            output, target, reduction="none", label_smoothing=self.label_smoothing
        )
        if self.class_weights is None:
            return loss
        if isinstance(self.class_weights, str):
            raise ConfigError("Balanced class weights are not known before the training data")
        return loss * loss.new_tensor([self.class_weights[name] for name in self.names])[target]

    def predict(self, output: Tensor) -> Tensor:
        """Probabilities (R, C)."""
        return self.tempered(output).softmax(dim=-1)

    def decode(self, prediction: Tensor) -> dict[str, Any]:
        """The likeliest label, and the probability of each."""
        probabilities = dict(zip(self.names, prediction.tolist(), strict=True))
        return {"label": self.names[int(prediction.argmax())], "probabilities": probabilities}

    def likelihood_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy: (R, C) and indices (R,) to a scalar."""
        return functional.cross_entropy(logits, target)

    def claims(self, output: Tensor, target: Tensor) -> Claims:
        """The probability of the likeliest label, and whether it is the right one."""
        stated, label = self.predict(output).max(dim=-1)
        return stated, (label == target).to(stated.dtype)

    def metrics(self, output: Tensor, target: Tensor) -> Metrics:
        """Accuracy, macro F1, and macro one-against-rest AUROC where every label occurs.

        A label that occurs neither in the targets nor in the predictions has no F1; torchmetrics
        leaves it out of the macro mean, as scikit-learn does.
        """
        # here and not on top: who only predicts needs no torchmetrics
        from torchmetrics.functional import classification as measures

        if not len(target):
            return {"accuracy": None, "f1_macro": None, "auroc": None}
        count = self.output_dim
        every_label = len(target.unique()) == count
        return {
            "accuracy": float(measures.multiclass_accuracy(output, target, count, average="micro")),
            "f1_macro": float(measures.multiclass_f1_score(output, target, count, average="macro")),
            # of logits it makes probabilities itself, in 32 bits, but not if all are within [0, 1]
            "auroc": float(measures.multiclass_auroc(output.double().softmax(-1), target, count))
            if every_label
            else None,
        }

    def confusion(self, output: Tensor, target: Tensor) -> list[list[int]]:
        """Counts (C, C): true label by row, predicted label by column."""
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        counts: list[list[int]] = multiclass_confusion_matrix(
            output, target, self.output_dim
        ).tolist()
        return counts

    def _outputs(self) -> tuple[object, ...]:
        return (self.labels,)


def _without_point(label: str) -> str:
    """Numbers of classes as whole ones: a column of them has 1.0 for 1 as soon as one is missing."""
    found = _POINT_ZERO.fullmatch(label)
    return found[1] if found else label
