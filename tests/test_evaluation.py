import pytest
import torch

from lit_mtl.evaluation import SplitOutputs, TaskResult, measure, scalars, selection
from lit_mtl.tasks import Classification, Regression
from lit_mtl.tasks.base import Task

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
    assert collected.compute() == measure(SCORE, output[labelled], target[labelled])


def test_a_row_that_was_seen_twice_counts_once() -> None:
    row_id, output, target, _ = rows()
    every = torch.ones(50, dtype=torch.bool)
    collected = SplitOutputs(SCORE)
    for part in (row_id, row_id[:13]):
        collected.update(part, output[part], target[part], every[part])
    result = collected.compute()
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
    result = SplitOutputs(LABEL).compute()
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
    results: dict[str, TaskResult] = {"s": {"n": 9, "accuracy": 0.9}, "r": {"n": 9, "pearson": 0.5}}
    assert selection(results, tasks) == pytest.approx(0.7)
    results["r"]["n"] = 0
    assert selection(results, tasks) == pytest.approx(0.9)
    off: dict[str, Task] = {"s": LABEL, "r": Regression(low=-4, high=4, weight=0.0)}
    results["r"]["n"] = 9
    assert selection(results, off) == pytest.approx(0.9)
    undefined: dict[str, TaskResult] = {
        "s": {"n": 9, "accuracy": 0.9},
        "r": {"n": 1, "pearson": None},
    }
    assert selection(undefined, tasks) == pytest.approx(0.45)
