"""The table and the file at the end of a run."""

import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from lit_mtl.calibration import Calibration
from lit_mtl.callbacks.console import duration
from lit_mtl.command_table import PROG
from lit_mtl.confusion import left_out, most_confused
from lit_mtl.evaluation import TaskResult, scalars
from lit_mtl.files import write_atomically
from lit_mtl.tasks.base import Task
from lit_mtl.verbosity import Verbosity, verbosity

RESULTS_FILE = "results.json"

_MOST_CLASSES = 12
"""Rows and columns of a confusion matrix that a terminal has room for."""


def report(
    results: Mapping[str, Mapping[str, TaskResult]],
    *,
    tasks: Mapping[str, Task],
    folder: Path | None,
    checkpoint: str | None,
    seconds: float | None = None,
    calibration: Calibration | None = None,
    intervals: Mapping[str, Any] | None = None,
    embedding: Mapping[str, float] | None = None,
    curves: Path | None = None,
    beside: Path | None = None,
) -> None:
    """Print the tables of every task and write all results as JSON beside the run.

    A calibration is written beside them, as `calibration.json`. `--quiet` leaves one line: where the
    results lie, or the checkpoint if they are written nowhere.

    Args:
        results: split name to task name to result.
        tasks: the tasks by name.
        folder: folder of the run; None writes no file.
        checkpoint: the checkpoint that was measured.
        seconds: duration of the training, if there was one.
        calibration: of that checkpoint, at the end of a fit.
        intervals: split name to task name to each metric's confidence interval.
        embedding: measures of the embedding by name; see `embedding_health`.
        curves: folder of TensorBoard's files, if there are any.
        beside: folder of checkpoints that lie outside of the run. They get both files of a fit too,
            for whoever uses them.
    """
    known = {
        name: value if math.isfinite(value) else None for name, value in (embedding or {}).items()
    }
    quiet = verbosity() is Verbosity.QUIET
    if not quiet:
        _print_tables(results, tasks, calibration, known)
        print(f"\ntraining took {duration(seconds)}" if seconds is not None else "")
    if folder is None or not quiet:
        print(f"checkpoint: {checkpoint}")
    content: dict[str, Any] = {
        "checkpoint": checkpoint,
        "training_seconds": seconds,
        "tasks": {name: task.spec() for name, task in tasks.items()},
        "results": results,
    }
    measured = {"confidence_intervals": intervals, "embedding": known}
    content |= {name: values for name, values in measured.items() if values}
    if calibration is not None:
        content["checkpoint_sha256"] = calibration.checkpoint
        content["calibration"] = calibration.report
    if beside is not None:
        _write(beside, content, calibration)
    if folder is None:
        return
    print(f"results:    {_write(folder, content, calibration)}")
    if seconds is not None and not quiet:
        if curves is not None:
            print(f"curves:     tensorboard --logdir {shlex.quote(str(curves))}")
        print(
            f"next:       {PROG} export --ckpt_path {shlex.quote(str(checkpoint))} "
            "--output my_encoder"
        )


def _write(folder: Path, content: Mapping[str, Any], calibration: Calibration | None) -> Path:
    """Write results and calibration into a folder; where the results are."""
    path = folder / RESULTS_FILE
    if content["training_seconds"] is None and path.exists():
        # that of the fit, which others read; a second look at one of its splits stands beside it
        path = folder / f"{path.stem}_{'_'.join(content['results'])}.json"
    if calibration is not None:
        calibration.save(folder)
        content = {**_of_the_training(path, calibration.checkpoint), **content}
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    return path


def _of_the_training(path: Path, checkpoint: str | None) -> dict[str, Any]:
    """What a file of results says of the embedding of the same weights: it was measured while training."""
    try:
        found = json.loads(path.read_bytes())
        if checkpoint is not None and found["checkpoint_sha256"] == checkpoint:
            return {"embedding": found["embedding"]}
    except (OSError, ValueError, KeyError, TypeError):  # none, or one that is not whole
        pass
    return {}


def _print_tables(
    results: Mapping[str, Mapping[str, TaskResult]],
    tasks: Mapping[str, Task],
    calibration: Calibration | None,
    embedding: Mapping[str, float | None],
) -> None:
    if not results:
        print("\nnothing was measured: there was no batch to measure on")
        return
    for name, task in tasks.items():
        by_split = {split: part[name] for split, part in results.items()}
        print(f"\n{task_table(name, by_split)}")
        if task.classes:
            split, result = list(by_split.items())[-1]
            print(f"\n{confusion_table(f'{name}, {split}', task, result)}")
    if calibration is not None:
        print(f"\n{calibration_table(calibration)}")
    if embedding:
        print(f"\n{tabulate(embedding.items(), ['embedding', ''], floatfmt='.4f', missingval='-')}")


def task_table(name: str, by_split: Mapping[str, TaskResult]) -> str:
    """One row a split with all metrics that are one number; a dash where one is not defined."""
    metrics = ["n", *scalars(next(iter(by_split.values())))]
    rows = [[split, *(result[metric] for metric in metrics)] for split, result in by_split.items()]
    return tabulate(rows, [name, *metrics], floatfmt=".4f", missingval="-")


def calibration_table(calibration: Calibration) -> str:
    """What the tasks state of their predictions and what came true, before and after calibration."""
    rows = [
        [f"{name}, {split}", when, *numbers.values()]
        for name, split, when, numbers in calibration.measures()
    ]
    headers = ["calibration", "", "stated", "observed", "ece", "by chance"]
    table = tabulate(rows, headers, floatfmt=".4f")
    return "\n".join([table] * bool(rows) + calibration.notes())


def confusion_table(title: str, task: Task, result: TaskResult) -> str:
    """Counts by true label (rows) and predicted label (columns); of many the most confused ones."""
    counts, classes = result["confusion_matrix"], task.classes
    chosen = most_confused(counts, most=_MOST_CLASSES)
    rows = [
        [f"truly {classes[row]}", *(counts[row][column] for column in chosen)] for row in chosen
    ]
    table = tabulate(rows, [title, *(f"predicted {classes[column]}" for column in chosen)])
    return "\n".join(filter(None, (table, left_out(len(chosen), len(classes)))))
