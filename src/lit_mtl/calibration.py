"""Fits what the tasks state of their own predictions, and checks it on rows that were not fitted.

Shapes: R labelled rows, O outputs of a head.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_mtl.errors import StorageError
from lit_mtl.files import write_atomically
from lit_mtl.reliability import calibration_error_by_chance, expected_calibration_error, folds
from lit_mtl.tasks import task_from_spec
from lit_mtl.tasks.base import Claims, Task

CALIBRATION_FILE = "calibration.json"

LEAST_ROWS = 50
"""Labelled validation rows from which on a task is calibrated."""

Outputs = Mapping[str, tuple[Tensor, Tensor]]
"""Task name to the head's outputs (R, O) and the targets of a split's labelled rows."""

_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The calibrated tasks of one checkpoint and how well they keep what they state.

    Args:
        checkpoint: SHA-256 of the checkpoint whose outputs these were.
        tasks: the tasks by name, calibrated where that was possible.
        report: task name to `n`, a `note` where it was not, and for each split `before` and `after`:
            the mean `stated` probability, the share `observed` to come true, `ece`, the expected
            calibration error, and `by_chance`, what that is on average of statements that are right.
            Of a test split with several sources `test_by_source` has the same after calibration.
    """

    checkpoint: str | None
    tasks: dict[str, Task]
    report: dict[str, dict[str, Any]]

    def measures(self) -> Iterator[tuple[str, str, str, dict[str, float]]]:
        """Task, split (and source), `before` or `after`, and what was measured then."""
        for name, found in self.report.items():
            for split in (split for split in ("val", "test") if split in found):
                for when in ("before", "after"):
                    if found[split][when] is not None:
                        yield name, split, when, found[split][when]
            for source, measured in found.get("test_by_source", {}).items():
                if measured is not None:
                    yield name, f"test, {source}", "after", measured

    def notes(self) -> list[str]:
        """Why tasks were not calibrated."""
        return [
            f"{name}: {found['note']}"
            for name, found in self.report.items()
            if found["note"] is not None
        ]

    def save(self, folder: Path) -> None:
        """Write `calibration.json` into the folder of a run."""
        content = {
            "schema": _SCHEMA,
            "checkpoint_sha256": self.checkpoint,
            "tasks": {name: task.spec() for name, task in self.tasks.items()},
            "report": self.report,
        }
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        write_atomically(folder / CALIBRATION_FILE, text.encode())


def read_calibration(folder: Path) -> Calibration | None:
    """What `Calibration.save` wrote; None if there is no such file.

    Raises:
        StorageError: if it cannot be read.
        ConfigError: if it describes no tasks.
    """
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        specs, checkpoint = content["tasks"], content["checkpoint_sha256"]
        report = content["report"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path}: not a readable calibration ({error!r})") from error
    tasks = {name: task_from_spec(spec) for name, spec in specs.items()}
    return Calibration(checkpoint=checkpoint, tasks=tasks, report=report)


def calibrate(
    tasks: Mapping[str, Task],
    validation: Outputs,
    test: Outputs | None = None,
    *,
    checkpoint: str | None = None,
    test_sources: Mapping[str, Sequence[str]] | None = None,
) -> Calibration:
    """Fit the tasks on the validation split.

    What is reported of that split is checked across: each fifth of its rows by what was fitted on
    the other four. The test split, where there is one, was not used for fitting at all.

    Args:
        tasks: the tasks by name.
        validation: outputs and targets of the validation split.
        test: the same of the test split.
        checkpoint: SHA-256 of the checkpoint that gave the outputs.
        test_sources: task name to the source of each of its test rows.
    """
    calibrated: dict[str, Task] = {}
    report = {}
    for name, task in tasks.items():
        output, target = validation[name]
        fitted, note = _fit(task, output, target)
        splits = {"val": (claims_of(task, output, target), checked_across(task, output, target))}
        by_source = {}
        if test is not None and len(test[name][1]):
            splits["test"] = (claims_of(task, *test[name]), claims_of(fitted, *test[name]))
            if note is None and test_sources is not None:
                by_source = _by_source(fitted, *test[name], test_sources[name])
        calibrated[name] = fitted
        report[name] = {
            "n": len(target),
            "note": note,
            **{
                split: {
                    "before": _measured(before),
                    "after": _measured(after) if note is None else None,
                }
                for split, (before, after) in splits.items()
            },
            **({"test_by_source": by_source} if by_source else {}),
        }
    return Calibration(checkpoint=checkpoint, tasks=calibrated, report=report)


def _fit(task: Task, output: Tensor, target: Tensor) -> tuple[Task, str | None]:
    """The calibrated task, or the task itself and why it could not be calibrated."""
    if not output.isfinite().all():
        return task, "not calibrated: some outputs are no numbers"
    if len(target) < LEAST_ROWS:
        return task, f"not calibrated: {len(target)} labelled validation rows, {LEAST_ROWS} needed"
    fitted = task.calibrate(output, target)
    return fitted, None if fitted != task else "not calibrated: nothing to fit on these rows"


def claims_of(task: Task, output: Tensor, target: Tensor) -> Claims | None:
    """What a task claims of rows, (R, O) and (R, S); None of none, and of outputs that are no numbers."""
    return task.claims(output, target) if len(target) and output.isfinite().all() else None


def checked_across(task: Task, output: Tensor, target: Tensor) -> Claims | None:
    """What a calibrated task claims of each fifth of the rows, fitted on the other four."""
    if len(target) < LEAST_ROWS or not output.isfinite().all():
        return None
    fitted = [
        (task.calibrate(output[rest], target[rest]), part) for rest, part in folds(len(target))
    ]
    if all(own == task for own, _ in fitted):  # four fifths may be too few where all are enough
        return None
    stated, came_true = zip(
        *(own.claims(output[part], target[part]) for own, part in fitted), strict=True
    )
    return torch.cat(stated), torch.cat(came_true)


def _by_source(
    task: Task, output: Tensor, target: Tensor, sources: Sequence[str]
) -> dict[str, dict[str, float] | None]:
    """What is measured of the rows of each source, if there are several."""
    names = sorted(set(sources))
    if len(names) < 2:
        return {}
    rows = {name: torch.tensor([source == name for source in sources]) for name in names}
    return {
        name: _measured(claims_of(task, output[own], target[own])) for name, own in rows.items()
    }


def _measured(claims: Claims | None) -> dict[str, float] | None:
    if claims is None:
        return None
    stated, came_true = (part.double() for part in claims)
    return {
        "stated": float(stated.mean()),
        "observed": float(came_true.mean()),
        "ece": expected_calibration_error(stated, came_true),
        "by_chance": calibration_error_by_chance(stated),
    }
