"""What all tasks with named labels share.

Shapes: D embedding dimension, L labels.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar

from torch import Tensor

from lit_mtl.errors import ConfigError
from lit_mtl.tasks.base import OtherOutputsError, Task
from lit_mtl.tasks.probabilities import ProbabilityTask


@dataclass(frozen=True, kw_only=True)
class LabelTask(ProbabilityTask):
    """Labels with one output of the head each.

    Args:
        labels: the labels in the order of the head's outputs. None: those found in the files,
            sorted by name.
        temperature: divides the logits; fitted on the validation split. See `ProbabilityTask`.
    """

    labels: tuple[str, ...] | None = None

    target_columns: ClassVar[tuple[str, ...]]
    reads_label_files: ClassVar[bool] = True
    least_labels: ClassVar[int]
    """Fewer are refused."""

    def __post_init__(self) -> None:
        """Check the labels and accept any sequence of them."""
        super().__post_init__()
        if self.labels is None:
            return
        object.__setattr__(self, "labels", tuple(map(composed, self.labels)))
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < self.least_labels:
            least = {1: "one or more", 2: "two or more"}[self.least_labels]
            raise ConfigError(
                f"Expected argument `labels` to be {least} different names, but got {self.labels}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, once they are known."""
        if self.labels is None:
            raise ConfigError(f"The labels of a {self.kind} task are not known before its data")
        return self.labels

    @property
    def is_open(self) -> bool:
        """Whether the labels are still to be found in the data."""
        return self.labels is None

    @property
    def output_dim(self) -> int:
        """One logit a label."""
        return len(self.names)

    def _adopted_head(self, held: Task, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Its rows in the order of this task's labels, where these are the same."""
        assert isinstance(held, LabelTask)
        if set(held.names) != set(self.names):
            raise OtherOutputsError(f"other labels there: {', '.join(held.names)}")
        order = [held.names.index(name) for name in self.names]
        return weight[order], bias[order]

    def refuse_other_weights(self, name: str, weights: Mapping[str, float]) -> None:
        """Declared weights must be positive, one for each label.

        Args:
            name: the field that declares them.
            weights: label to weight.

        Raises:
            ConfigError: if they are not.
        """
        wrong = {label: value for label, value in weights.items() if not 0 < value < inf}
        if wrong:
            raise ConfigError(
                f"Expected the values of `{name}` to be finite and above 0, but got {wrong}"
            )
        if self.labels is not None and set(weights) != set(self.labels):
            raise ConfigError(
                f"Expected `{name}` to have a value for each of the labels "
                f"{', '.join(self.labels)}, but got {', '.join(weights) or 'none'}"
            )


def composed(label: str) -> str:
    """A label in the one form of its letters (NFC): names of files may have their accents apart."""
    return unicodedata.normalize("NFC", label)
