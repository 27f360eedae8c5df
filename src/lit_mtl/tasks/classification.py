"""Classification of a sentence into one of several labels.

Shapes: R rows, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

from lit_mtl.errors import ConfigError
from lit_mtl.tasks.base import Metrics, Target, Task


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """One label out of several, learned by cross-entropy.

    Args:
        kind: names this kind of task in a config.
        weight: factor of this task's loss in the sum of the losses; see `Task`.
        labels: the labels in the order of the head's outputs. None: those found in the files,
            sorted by name.
        label_smoothing: share of the target spread evenly over all labels, in [0, 1).
    """

    kind: Literal["classification"] = "classification"
    labels: tuple[str, ...] | None = None
    label_smoothing: float = 0.0

    target_columns: ClassVar[tuple[str, ...]] = ("label",)
    primary_metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        """Check the labels and accept any sequence of them."""
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"Expected argument `label_smoothing` to be in [0, 1), but got {self.label_smoothing}"
            )
        if self.labels is None:
            return
        object.__setattr__(self, "labels", tuple(self.labels))
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
            raise ConfigError(
                f"Expected argument `labels` to be two or more different names, but got {self.labels}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, once they are known."""
        if self.labels is None:
            raise ConfigError("The labels of a classification task are not known before its data")
        return self.labels

    @property
    def output_dim(self) -> int:
        """One logit a label."""
        return len(self.names)

    @property
    def target_dtype(self) -> torch.dtype:
        """Class indices."""
        return torch.int64

    def encode(self, value: str) -> int:
        """The index of a label."""
        if value not in self.names:
            raise ValueError(f"expected a label out of {', '.join(self.names)}; found {value!r}")
        return self.names.index(value)

    @property
    def is_open(self) -> bool:
        """Whether the labels are still to be taken from the data."""
        return self.labels is None

    def merge(self, targets: Sequence[Target]) -> Target | None:
        """The one label of all rows, if it is one."""
        return targets[0] if len(set(targets)) == 1 else None

    def describe(self, target: Target) -> str:
        """The label."""
        assert not isinstance(target, tuple)
        return self.names[int(target)]

    def resolve(self, values: Sequence[str]) -> Self:
        """Take the labels from the data, sorted by name, where none were declared."""
        return self if self.labels else replace(self, labels=tuple(sorted(set(values))))

    def row_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of every row: logits (R, C) and indices (R,) to (R,)."""
        return functional.cross_entropy(
            output, target, reduction="none", label_smoothing=self.label_smoothing
        )

    def predict(self, output: Tensor) -> Tensor:
        """Probabilities (R, C)."""
        return output.softmax(dim=-1)

    def decode(self, prediction: Tensor) -> dict[str, Any]:
        """The likeliest label, and the probability of each."""
        probabilities = dict(zip(self.names, prediction.tolist(), strict=True))
        return {"label": self.names[int(prediction.argmax())], "probabilities": probabilities}

    def metrics(self, output: Tensor, target: Tensor) -> Metrics:
        """Accuracy, macro F1, and macro one-against-rest AUROC where every label occurs.

        A label that occurs neither in the targets nor in the predictions has no F1; torchmetrics
        leaves it out of the macro mean, as scikit-learn does.
        """
        if not len(target):
            return {"accuracy": None, "f1_macro": None, "auroc": None}
        count = self.output_dim
        every_label = len(target.unique()) == count
        return {
            "accuracy": float(multiclass_accuracy(output, target, count, average="micro")),
            "f1_macro": float(multiclass_f1_score(output, target, count, average="macro")),
            "auroc": float(multiclass_auroc(output, target, count)) if every_label else None,
        }

    def confusion(self, output: Tensor, target: Tensor) -> list[list[int]]:
        """Counts (C, C): true label by row, predicted label by column."""
        counts: list[list[int]] = multiclass_confusion_matrix(
            output, target, self.output_dim
        ).tolist()
        return counts

    def _outputs(self) -> tuple[object, ...]:
        return (self.labels,)
