"""What a task is: its targets, head, loss, decoding and metrics."""

from collections.abc import Mapping
from typing import Any, get_args

from lit_mtl.errors import ConfigError
from lit_mtl.tasks.base import Task
from lit_mtl.tasks.classification import Classification
from lit_mtl.tasks.multilabel import Multilabel
from lit_mtl.tasks.ordinal import Ordinal
from lit_mtl.tasks.rating_distribution import RatingDistribution
from lit_mtl.tasks.regression import Regression
from lit_mtl.tasks.regression_with_spread import RegressionWithSpread

AnyTask = (
    Classification | Multilabel | Regression | RegressionWithSpread | RatingDistribution | Ordinal
)
"""The kinds of task; the command line reads this union by the field `kind`."""

KINDS: dict[str, type[Task]] = {kind.kind: kind for kind in get_args(AnyTask)}
"""The kinds of task by the value of `kind`."""

__all__ = [
    "KINDS",
    "AnyTask",
    "Classification",
    "Multilabel",
    "Ordinal",
    "RatingDistribution",
    "Regression",
    "RegressionWithSpread",
    "Task",
    "task_from_spec",
]


def task_from_spec(spec: Mapping[str, Any]) -> Task:
    """Build the task that `Task.spec` described.

    Raises:
        ConfigError: for an unknown kind or an unknown field.
    """
    values = {**spec}
    kind = values.pop("kind", None)
    if kind not in KINDS:
        raise ConfigError(f"Expected a task's `kind` to be one of {sorted(KINDS)}, got {kind!r}")
    try:
        return KINDS[kind](**values)
    except TypeError as error:
        raise ConfigError(f"Expected the fields of a {kind} task, got {values}: {error}") from error
