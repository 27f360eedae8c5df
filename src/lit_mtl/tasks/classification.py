"""Classification of a sentence into one of several labels.

Shapes: R rows, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional

from lit_mtl.errors import ConfigError
from lit_mtl.reliability import fit_temperature
from lit_mtl.tasks.base import Claims, Metrics, Target, Task


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """One label out of several, learned by cross-entropy.

    Args:
        kind: names this kind of task in a config.
        weight: factor of this task's loss in the sum of the losses; see `Task`.
        labels: the labels in the order of the head's outputs. None: those found in the files,
            sorted by name.
        label_smoothing: share of the target spread evenly over all labels, in [0, 1).
        temperature: divides the logits before they become probabilities; the loss does not know it.
            It is fitted on the validation split at the end of a fit.
    """

    kind: Literal["classification"] = "classification"
    labels: tuple[str, ...] | None = None
    label_smoothing: float = 0.0
    temperature: float = 1.0

    target_columns: ClassVar[tuple[str, ...]] = ("label",)
    primary_metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        """Check the labels and accept any sequence of them."""
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"Expected argument `label_smoothing` to be in [0, 1), but got {self.label_smoothing}"
            )
        if not self.temperature > 0:
            raise ConfigError(
                f"Expected argument `temperature` to be above 0, but got {self.temperature}"
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
        return (output / self.temperature).softmax(dim=-1)

    def decode(self, prediction: Tensor) -> dict[str, Any]:
        """The likeliest label, and the probability of each."""
        probabilities = dict(zip(self.names, prediction.tolist(), strict=True))
        return {"label": self.names[int(prediction.argmax())], "probabilities": probabilities}

    def calibrate(self, output: Tensor, target: Tensor) -> Self:
        """Fit the temperature; rows of a single class or without an error fix none."""
        logits = output.double()

        def loss(temperature: float) -> float:
            return float(functional.cross_entropy(logits / temperature, target))

        found = fit_temperature(loss) if len(target.unique()) > 1 else None
        return self if found is None else replace(self, temperature=found)

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
            "auroc": float(measures.multiclass_auroc(output, target, count))
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
