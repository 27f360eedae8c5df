"""The interface of a task. A task is plain data, so it travels in configs and checkpoints.

Shapes: R rows, D embedding dimension, O outputs of the head, S the shape of one encoded target:
nothing or (L,).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lit_mtl.errors import ConfigError

Target = float | tuple[float, ...]
"""One encoded target; it can be hashed and compared."""

Targets = Sequence[Target] | npt.NDArray[np.float64]
"""Many encoded targets: a sequence, or an array of shape (R, S)."""

Metrics = dict[str, float | None]
"""Metric name to value; None where the rows do not define it (one class only, constant scores)."""

Claims = tuple[Tensor, Tensor]
"""Probabilities that were stated, (N,), and 1 or 0 for what came true and what did not, (N,)."""


class OtherOutputsError(Exception):
    """A task's head cannot predict what the head of another one does; with the reason, for people."""


class Head(nn.Sequential):
    """Dropout and one linear layer: (R, D) to (R, O)."""

    def __init__(self, in_features: int, out_features: int, *, dropout: float) -> None:
        """Build the head with torch's own initialisation of a linear layer."""
        super().__init__(nn.Dropout(dropout), nn.Linear(in_features, out_features))


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """One kind of target that a head learns.

    From the files to the loss: `resolve` looks at all targets as written where the declaration
    leaves something open, `encode` reads each of them, `merge` makes one target of the rows of one
    sentence, and `fit` measures what the loss needs on the training split.

    Args:
        kind: names the kind of task in a config.
        weight: factor of this task's loss in the sum of the losses. With 0 nothing learns from it,
            and it does not count in the selection of the best checkpoint.
    """

    kind: str = ""
    weight: float = 1.0

    target_columns: ClassVar[tuple[str, ...]]
    primary_metric: ClassVar[str]
    """The metric that takes part in the selection of the best checkpoint; better when larger."""

    reads_label_files: ClassVar[bool] = False
    """Whether the names of `<label>.txt` files are targets of this kind."""

    learns_variance: ClassVar[bool] = False
    """Whether the loss has a learned variance in it, and so may be negative. It then keeps its weight
    where those of other tasks are learned."""

    def __post_init__(self) -> None:
        """Refuse a negative weight, which would reward errors."""
        if not self.weight >= 0:
            raise ConfigError(f"Expected argument `weight` to be at least 0, but got {self.weight}")

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether `resolve` still has to see the data before targets can be encoded."""

    @property
    @abstractmethod
    def output_dim(self) -> int:
        """Outputs of the head, O."""

    @property
    @abstractmethod
    def target_dtype(self) -> torch.dtype:
        """The type of an encoded target in a batch."""

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape S of one encoded target."""
        return ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the rows and columns of `confusion`; none without classes."""
        return ()

    @abstractmethod
    def encode(self, value: str) -> Target:
        """Read one target as it stands in a file.

        Raises:
            ValueError: saying what was expected and found; the caller knows file and line.
        """

    @abstractmethod
    def describe(self, target: Target) -> str:
        """An encoded target for people."""

    @abstractmethod
    def merge(self, targets: Sequence[Target]) -> Target | None:
        """One target of the several rows of one sentence.

        Args:
            targets: encoded targets in the order of the files, at least one.

        Returns:
            The target; None if they contradict each other.
        """

    @abstractmethod
    def resolve(self, values: Sequence[str]) -> Self:
        """Fill in what the declaration leaves to the data, from all targets in the files.

        What cannot be read is left to `encode`, whose caller knows where it stands.

        Raises:
            ConfigError: if the data do not say it.
        """

    def fit(self, targets: Targets) -> Self:
        """Fill in what is measured on the encoded targets of the training split.

        Raises:
            ConfigError: if it cannot be measured on them.
        """
        return self

    @abstractmethod
    def summary(self, targets: Targets) -> dict[str, Any]:
        """How targets are distributed, in plain values.

        Returns:
            Either `labels`, name to number of targets, or `histogram`, a list of bins with `from`,
            `to` and `count`; and what else there is to say.
        """

    @abstractmethod
    def row_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Loss of every row: output (R, O) and target (R, S) to (R,)."""

    @abstractmethod
    def predict(self, output: Tensor) -> Tensor:
        """The head's output (R, O) in the user's unit: probabilities or scores, (R, ...)."""

    @abstractmethod
    def decode(self, prediction: Tensor) -> dict[str, Any]:
        """One row of `predict` as plain values for a user."""

    def interval(self, prediction: Tensor) -> Tensor | None:
        """Lower and upper end for each row of `predict`, (R, 2); None where none is known."""
        return None

    def calibrate(self, output: Tensor, target: Tensor) -> Self:
        """Fill in what is measured on the validation split: output (R, O) and target (R, S).

        It changes what `predict`, `decode` and `interval` state, never the loss or the metrics. A
        task that has nothing to fill in, or cannot on these rows, returns itself.
        """
        return self

    def claims(self, output: Tensor, target: Tensor) -> Claims | None:
        """What predictions state of themselves, and whether it came true; None if nothing is."""
        return None

    @abstractmethod
    def metrics(self, output: Tensor, target: Tensor) -> Metrics:
        """Metrics of all labelled rows of a split at once: output (R, O), target (R, S)."""

    def confusion(self, output: Tensor, target: Tensor) -> list[list[int]] | None:
        """Counts by true class (rows) and predicted class (columns); None without classes."""
        return None

    def same_outputs(self, other: "Task") -> bool:
        """Whether a head of this task can be read as a head of the other one.

        What is measured on data (`fit`) and the loss weight may differ: they do not change
        which outputs there are or which targets are allowed.
        """
        return self.kind == other.kind and self._outputs() == other._outputs()

    def adopted_head(self, held: "Task", weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The linear layer of a head that another task has trained, as one that predicts the same here.

        Args:
            held: the other task, after its training.
            weight: of its head, (O, D).
            bias: the same, (O,).

        Returns:
            Weight and bias.

        Raises:
            OtherOutputsError: if no head of this task predicts the same.
        """
        if held.kind != self.kind:
            raise OtherOutputsError(f"{held.kind} there")
        return self._adopted_head(held, weight, bias)

    def _adopted_head(self, held: "Task", weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The same of a task of the same kind."""
        if not self.same_outputs(held):
            raise OtherOutputsError("other outputs there")
        return weight, bias

    @abstractmethod
    def _outputs(self) -> tuple[object, ...]:
        """The fields that fix what the head's outputs mean."""

    def spec(self) -> dict[str, Any]:
        """Plain values from which `task_from_spec` rebuilds this task."""
        return asdict(self)
