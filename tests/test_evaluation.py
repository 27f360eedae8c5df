import itertools
import math
from multiprocessing import Queue
from pathlib import Path

import pytest
import torch
from torch.distributed import destroy_process_group, init_process_group

from lit_mtl.data.batching import evaluation_batches
from lit_mtl.evaluation import (
    SplitOutputs,
    TaskResult,
    bootstrap,
    confidence_intervals,
    measure,
    scalars,
    selection,
)
from lit_mtl.tasks import (
    Classification,
    Multilabel,
    Ordinal,
    RatingDistribution,
    Regression,
    RegressionWithSpread,
)
from lit_mtl.tasks.base import Metrics, Task
from tests.processes import context, ended

LABEL = Classification(labels=("a", "b"))
SCORE = Regression(low=-4, high=4, center=0.0, scale=1.0)


def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    output = torch.randn(50, 1, generator=random)
    target = torch.randn(50, generator=random).clamp(-4, 4)
    return torch.arange(50), output, target, torch.rand(50, generator=random) < 0.7


def test_the_result_is_that_of_the_labelled_rows_at_once() -> None:
    row_id, output, target, labelled = rows()
    collected = SplitOutputs(SCORE)
    for part in torch.split(torch.randperm(50, generator=torch.Generator().manual_seed(1)), 7):
        collected.update(row_id[part], output[part], target[part], labelled[part])
    assert measure(SCORE, *collected.gathered()) == measure(
        SCORE, output[labelled], target[labelled]
    )


def test_a_row_that_was_seen_twice_counts_once() -> None:
    row_id, output, target, _ = rows()
    every = torch.ones(50, dtype=torch.bool)
    collected = SplitOutputs(SCORE)
    for part in (row_id, row_id[:13]):
        collected.update(part, output[part], target[part], every[part])
    result = measure(collected.task, *collected.gathered())
    assert result == measure(SCORE, output, target)
    assert result["n"] == 50


def test_loss_and_metrics_of_a_split_by_hand() -> None:
    result = measure(SCORE, torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 3.0]))
    assert result == {
        "n": 2,
        "loss": 0.5,
        "pearson": pytest.approx(1.0),
        "spearman": pytest.approx(1.0, abs=1e-5),  # torchmetrics adds 1e-6 to each deviation
        "mae": 0.5,
        "rmse": pytest.approx(0.5**0.5),
    }


def test_what_is_not_a_number_is_none() -> None:
    result = measure(SCORE, torch.tensor([[float("nan")], [1.0]]), torch.tensor([2.0, 3.0]))
    assert (result["n"], result["loss"], result["rmse"]) == (2, None, None)


def test_a_split_without_labelled_rows_has_no_metrics_but_a_count() -> None:
    result = measure(LABEL, *SplitOutputs(LABEL).gathered())
    assert result["n"] == 0
    assert result["confusion_matrix"] == [[0, 0], [0, 0]]
    assert scalars(result) == {
        "loss": None,
        "accuracy": None,
        "f1_macro": None,
        "auroc": None,
    }


def test_selection_is_the_mean_of_the_primary_metrics_that_have_rows() -> None:
    tasks: dict[str, Task] = {"s": LABEL, "r": SCORE}
    results: dict[str, TaskResult] = {
        "s": {"n": 9, "loss": 0.3, "accuracy": 0.9},
        "r": {"n": 9, "loss": 1.0, "pearson": 0.5},
    }
    assert selection(results, tasks) == pytest.approx(0.7)
    results["r"]["n"] = 0
    assert selection(results, tasks) == pytest.approx(0.9)
    off: dict[str, Task] = {"s": LABEL, "r": Regression(low=-4, high=4, weight=0.0)}
    results["r"]["n"] = 9
    assert selection(results, off) == pytest.approx(0.9)
    undefined: dict[str, TaskResult] = {
        "s": {"n": 9, "loss": 0.3, "accuracy": 0.9},
        "r": {"n": 1, "loss": 1.0, "pearson": None},
    }
    assert selection(undefined, tasks) == pytest.approx(0.45)


def test_outputs_that_are_not_numbers_select_nothing() -> None:
    """An accuracy could be computed of them, and would mean nothing."""
    target = torch.tensor([0, 1])
    result = measure(LABEL, torch.full((2, 2), torch.nan), target)
    assert (result["n"], result["accuracy"]) == (2, None)
    assert math.isnan(selection({"s": result}, {"s": LABEL}))
    good = measure(LABEL, torch.eye(2), target)
    assert selection({"s": good}, {"s": LABEL}) == 1.0


SIZES = (1, 2, 3, 5, 7, 8, 101)
KINDS: tuple[Task, ...] = (
    LABEL,
    SCORE,
    Multilabel(labels=("a", "b", "c")),
    RegressionWithSpread(low=-4, high=4),
    RatingDistribution(low=-4, high=4),
    Ordinal(low=-4, high=4),
)


def split_of_size(
    size: int, task: Task
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(size)
    output = torch.randn(size, task.output_dim, generator=random)
    target = torch.randn(size, *task.target_shape, generator=random).clamp(-4, 4)
    if task.kind in ("classification", "multilabel"):
        target = (target > 0).to(task.target_dtype)
    elif task.kind == "regression_with_spread":
        target[:, 1:] = target[:, 1:].abs().ceil()
    elif task.kind == "rating_distribution":
        target = target.abs().ceil()
    target = target.to(task.target_dtype)
    # of the small splits only the last row is labelled, so one rank has none for the task
    labelled = torch.arange(size) == size - 1 if size < 5 else torch.arange(size) % 3 > 0
    return torch.arange(size), output, target, labelled


def results_of_rank(rank: int, store: str, results: "Queue[list[TaskResult]]") -> None:
    """What a process of two finds of its share of each split."""
    init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    found = []
    for size, task in itertools.product(SIZES, KINDS):
        row_id, output, target, labelled = split_of_size(size, task)
        collected = SplitOutputs(task)
        for rows in evaluation_batches([1] * size, batch_size=2, rank=rank, world_size=2):
            collected.update(row_id[rows], output[rows], target[rows], labelled[rows])
        found.append(measure(collected.task, *collected.gathered()))
    results.put(found)
    destroy_process_group()


def test_f14_f15_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    """However few rows there are, and where a process has none of a task."""
    results = context().Queue()
    processes = [
        context().Process(target=results_of_rank, args=(rank, str(tmp_path / "store"), results))
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    assert [ended(process) for process in processes] == [0, 0]
    for number, (size, task) in enumerate(itertools.product(SIZES, KINDS)):
        _, output, target, labelled = split_of_size(size, task)
        expected = measure(task, output[labelled], target[labelled])
        assert found[0][number] == found[1][number] == expected, size


def test_what_has_no_metrics_has_no_intervals() -> None:
    task = Classification(labels=("a", "b"))
    output = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    target = torch.arange(60) % 2
    assert confidence_intervals(task, output, target)
    output[7] = torch.nan
    assert confidence_intervals(task, output, target) == {}


def test_a_resample_draws_from_each_stratum_as_many_rows_as_it_has() -> None:
    seen: list[torch.Tensor] = []

    def counted(chosen: torch.Tensor) -> Metrics:
        seen.append(chosen)
        return {"rows": float(len(chosen))}

    assert bootstrap(counted, strata=[3, 50, 7], resamples=20) == {"rows": (60.0, 60.0)}
    for chosen in seen:
        parts = torch.bucketize(chosen, torch.tensor([3, 53]), right=True)
        assert parts.bincount().tolist() == [3, 50, 7]
    assert len(torch.cat(seen).unique()) == 60, "each row can be drawn"
    assert bootstrap(counted, strata=[20, 29], resamples=20) == {}
