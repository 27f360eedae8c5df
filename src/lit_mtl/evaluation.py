"""Collects the outputs of a whole split and measures them at once.

Averaging a metric over batches is wrong for all but the simplest ones, and padding rows in under
DDP counts them twice. Here every row is kept with its number, gathered from all processes, counted
once and put in order, so that the result does not depend on batch size or number of processes.

Shapes: B rows of a batch, R rows of a split, O outputs of a head, S the shape of a target.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.distributed import is_available, is_initialized
from torchmetrics.utilities.distributed import gather_all_tensors

from lit_mtl.tasks.base import Metrics, Task

LEAST_ROWS = 50
"""Labelled rows from which on a metric gets an interval."""

TaskResult = dict[str, Any]
"""`n` labelled rows, mean `loss`, the task's metrics, and `confusion_matrix` where it has one."""


class SplitOutputs:
    """Outputs and targets of one task over one split.

    Args:
        task: the task that reads them.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.row_ids = torch.empty(0, dtype=torch.int64)
        self._row_ids: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, row_id: Tensor, output: Tensor, target: Tensor, labelled: Tensor) -> None:
        """Keep the labelled rows of a batch: (B,), (B, O), (B, S) and a mask (B,)."""
        self._row_ids.append(row_id[labelled].cpu())
        self._outputs.append(output[labelled].detach().float().cpu())
        self._targets.append(target[labelled].cpu())

    def gathered(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Outputs (R, O) and targets (R, S) of all processes' rows, each once; equal on every process.

        `row_ids`, (R,), says which rows these are.

        Args:
            device: where tensors have to be for a collective call; None for the CPU.
        """
        width = self.task.output_dim
        row_id = gathered_rows(self._row_ids, torch.empty(0, dtype=torch.int64), device)
        output = gathered_rows(self._outputs, torch.empty(0, width), device)
        none = torch.empty(0, *self.task.target_shape, dtype=self.task.target_dtype)
        target = gathered_rows(self._targets, none, device)
        first = _first_of_each(row_id)
        self.row_ids = row_id[first]
        return output[first], target[first]


def measure(task: Task, output: Tensor, target: Tensor) -> TaskResult:
    """Number of rows, mean loss and metrics of outputs (R, O) against targets (R, S)."""
    count = len(target)
    if not output.isfinite().all():
        # a diverged model has no metrics: the likeliest of labels that are not a number is the first
        return {**measure(task, output[:0], target[:0]), "n": count}
    loss = float(task.row_loss(output, target).double().mean()) if count else None
    numbers = {"loss": loss, **task.metrics(output, target)}
    result: TaskResult = {"n": count} | {
        # JSON has no NaN and no infinity
        name: value if value is not None and math.isfinite(value) else None
        for name, value in numbers.items()
    }
    confusion = task.confusion(output, target)
    return result if confusion is None else {**result, "confusion_matrix": confusion}


def confidence_intervals(
    task: Task, output: Tensor, target: Tensor, *, resamples: int = 300
) -> dict[str, tuple[float, float]]:
    """The middle 95 % of each metric over bootstrap resamples of the rows; see `bootstrap`.

    Args:
        task: the task that reads them.
        output: of the labelled rows, (R, O).
        target: of the same rows, (R, S).
        resamples: how often R rows are drawn with replacement.
    """
    if not output.isfinite().all():  # it has no metrics, see `measure`
        return {}
    return bootstrap(
        lambda chosen: task.metrics(output[chosen], target[chosen]),
        strata=[len(target)],
        resamples=resamples,
    )


def bootstrap(
    statistics: Callable[[Tensor], Metrics], *, strata: Sequence[int], resamples: int
) -> dict[str, tuple[float, float]]:
    """The middle 95 % of statistics over bootstrap resamples of rows (Efron 1979).

    Args:
        statistics: from row numbers, (R,), to each statistic of these rows.
        strata: rows of each stratum, one behind the other, R in all. Each resample draws as many from
            each. One of all rows where their number in a part is itself a matter of luck.
        resamples: how often R rows are drawn with replacement.

    Returns:
        Name of the statistic to both ends; without those that a resample does not define, and with
        none at all below `LEAST_ROWS` rows.
    """
    if sum(strata) < LEAST_ROWS:
        return {}
    generator = torch.Generator().manual_seed(0)
    starts = [0, *accumulate(strata)]
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        chosen = torch.cat(
            [
                torch.randint(start, end, (end - start,), generator=generator)
                for start, end in pairwise(starts)
            ]
        )
        for name, value in statistics(chosen).items():
            if value is not None and math.isfinite(value):
                drawn.setdefault(name, []).append(value)
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return {
        name: (float(low), float(high))
        for name, values in drawn.items()
        if len(values) == resamples
        for low, high in [torch.tensor(values, dtype=torch.float64).quantile(ends)]
    }


def scalars(result: TaskResult) -> Metrics:
    """Loss and metrics of a result, None where they are not defined."""
    return {name: value for name, value in result.items() if name not in ("n", "confusion_matrix")}


def diverged(results: Mapping[str, TaskResult]) -> bool:
    """Whether the loss of rows that have a target is not finite."""
    return any(result["n"] and result["loss"] is None for result in results.values())


def selection(results: Mapping[str, TaskResult], tasks: Mapping[str, Task]) -> float:
    """The number that selects the best checkpoint: the mean of the tasks' primary metrics.

    They are all better when larger: `Task.primary_metric`. A task of weight 0 or without a labelled
    row in the split is left out. An undefined one, such as the correlation of constant scores, counts
    as 0, which is what a head that has learned nothing would have.
    A model whose outputs are not numbers must not be selected: the result then is none either.
    """
    if diverged(results):
        return math.nan
    values = [
        results[name][task.primary_metric] or 0.0
        for name, task in tasks.items()
        if results[name]["n"] and task.weight
    ]
    return sum(values) / max(1, len(values))


def logged_values(results: Mapping[str, TaskResult], tasks: Mapping[str, Task]) -> dict[str, float]:
    """What is logged of a split, by the key behind its name; NaN where a metric is not defined."""
    losses = [
        result["loss"] * tasks[name].weight
        for name, result in results.items()
        if result["loss"] is not None
    ]
    loss = math.nan if diverged(results) else sum(losses)
    values = {"selection": selection(results, tasks), "loss": loss}
    for name, result in results.items():
        for metric, value in scalars(result).items():
            # what is not defined too, or callbacks would read the value of the validation before
            values[f"{name}/{metric}"] = math.nan if value is None else value
    return values


def validation_keys(tasks: Mapping[str, Task]) -> list[str]:
    """The keys that every validation of these tasks logs, sorted."""
    results = {}
    for name, task in tasks.items():
        target = torch.empty(0, *task.target_shape, dtype=task.target_dtype)
        results[name] = measure(task, torch.empty(0, task.output_dim), target)
    return sorted(f"val/{key}" for key in logged_values(results, tasks))


def gathered_rows(parts: list[Tensor], empty: Tensor, device: torch.device | None) -> Tensor:
    """Rows of all processes, one process after the other; a collective call, equal on every process.

    Args:
        parts: those of this process, in several tensors.
        empty: no rows, of the same shape and type otherwise.
        device: where tensors have to be for the call; None for the CPU.
    """
    own = torch.cat([empty, *parts])
    if not (is_available() and is_initialized()):
        return own
    return torch.cat([part.cpu() for part in gather_all_tensors(own.to(device))])


def _first_of_each(row_id: Tensor) -> Tensor:
    """Position of the first occurrence of each value, by rising value."""
    order = torch.argsort(row_id, stable=True)
    is_new = torch.ones_like(order, dtype=torch.bool)
    is_new[1:] = row_id[order].diff() != 0
    return order[is_new]
