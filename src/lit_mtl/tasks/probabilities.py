"""What all tasks that state probabilities share: the temperature.

Shapes: R rows, O outputs of the head, S the shape of one encoded target, K logits a row.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from lit_mtl.errors import ConfigError
from lit_mtl.reliability import fit_temperature
from lit_mtl.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class ProbabilityTask(Task):
    """Probabilities of logits that are divided by one temperature (Guo et al. 2017).

    It moves all of a task's probabilities towards or away from chance, and their order in a row
    stays. It cannot take back what moves them to one side, such as the weights of classes.

    Args:
        temperature: divides the logits before they become probabilities; loss and metrics do not
            know it. It is fitted on the validation split at the end of a fit.
    """

    temperature: float = 1.0

    target_columns: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        """Check the temperature."""
        super().__post_init__()
        if not self.temperature > 0:
            raise ConfigError(
                f"Expected argument `temperature` to be above 0, but got {self.temperature}"
            )

    def logits(self, output: Tensor) -> Tensor:
        """What the temperature divides, (R, K): the head's output (R, O) itself or made of it."""
        return output

    def tempered(self, output: Tensor) -> Tensor:
        """Logits over the temperature: output (R, O) to (R, K)."""
        return self.logits(output) / self.temperature

    @abstractmethod
    def likelihood_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean negative log-likelihood, without weights: (R, K) and target (R, S) to a scalar."""

    def calibrate(self, output: Tensor, target: Tensor) -> Self:
        """Fit the temperature; rows of a single class or without an error fix none."""
        logits = self.logits(output.double())

        def loss(temperature: float) -> float:
            return float(self.likelihood_loss(logits / temperature, target))

        found = fit_temperature(loss) if len(target.unique()) > 1 else None
        return self if found is None else replace(self, temperature=found)
