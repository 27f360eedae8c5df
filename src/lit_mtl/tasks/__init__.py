"""What a task is: its targets, head, loss, decoding and metrics."""

from collections.abc import Mapping
from typing import Any

from lit_mtl.errors import ConfigError
from lit_mtl.tasks.base import Task
from lit_mtl.tasks.classification import Classification
from lit_mtl.tasks.regression import Regression

AnyTask = Classification | Regression
"""The kinds of task; the command line reads this union by the field `kind`."""

_KINDS: dict[str, type[Task]] = {"classification": Classification, "regression": Regression}

__all__ = ["AnyTask", "Classification", "Regression", "Task", "task_from_spec"]


def task_from_spec(spec: Mapping[str, Any]) -> Task:
    """Build the task that `Task.spec` described.

    Raises:
        ConfigError: for an unknown kind or an unknown field.
    """
    values = {**spec}
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise ConfigError(f"Expected a task's `kind` to be one of {sorted(_KINDS)}, got {kind!r}")
    try:
        return _KINDS[kind](**values)
    except TypeError as error:
        raise ConfigError(f"Expected the fields of a {kind} task, got {values}: {error}") from error
