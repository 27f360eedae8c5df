"""The table and the file at the end of a run."""

import json
from collections.abc import Mapping
from pathlib import Path

from tabulate import tabulate

from lit_mtl.evaluation import TaskResult, scalars
from lit_mtl.tasks.base import Task

RESULTS_FILE = "results.json"


def report(
    results: Mapping[str, Mapping[str, TaskResult]],
    *,
    tasks: Mapping[str, Task],
    folder: Path,
    checkpoint: str | None,
) -> None:
    """Print a table a task and write all results as JSON beside the run.

    Args:
        results: split name to task name to result.
        tasks: the tasks by name.
        folder: folder of the run.
        checkpoint: the checkpoint that was measured.
    """
    for name in tasks:
        print(f"\n{task_table(name, {split: part[name] for split, part in results.items()})}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULTS_FILE
    content = {
        "checkpoint": checkpoint,
        "tasks": {name: task.spec() for name, task in tasks.items()},
        "results": results,
    }
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    print(f"\ncheckpoint: {checkpoint}\nresults:    {path}")


def task_table(name: str, by_split: Mapping[str, TaskResult]) -> str:
    """One row a split with all metrics that are one number; a dash where one is not defined."""
    metrics = list(scalars(next(iter(by_split.values()))))
    rows = [[split, *(result[metric] for metric in metrics)] for split, result in by_split.items()]
    return tabulate(rows, [name, *metrics], floatfmt=".4f", missingval="-")
