import json

import numpy as np
import pytest
import torch

from lit_mtl.errors import ConfigError
from lit_mtl.evaluation import measure, scalars
from lit_mtl.optim.loss_balancing import labelled_mean
from lit_mtl.tasks import (
    KINDS,
    Classification,
    Multilabel,
    Ordinal,
    RatingDistribution,
    Regression,
    RegressionWithSpread,
    task_from_spec,
)
from lit_mtl.tasks.base import Head, Task

CELLS: list[tuple[Task, list[str]]] = [
    (
        Classification(weight=0.5, label_smoothing=0.1, class_weights="balanced"),
        ["a", "b", "c", "a", "b", "a"],
    ),
    (Multilabel(pos_weight="balanced", threshold=0.4), ["a|b", "c", "[]", '["a"]', "b", "c|b"]),
    (
        Regression(low=0.0, bounded=True, loss="huber", huber_delta=2.0),
        ["1", "2.5", "0", "4", "5", "1"],
    ),
    (RegressionWithSpread(), ["1|3|5", "[2]", "4|4", "1|2", "5", "3|1"]),
    (RatingDistribution(), ["1|3|5", "[2]", "4|4", "1|2", "5", "3|1"]),
    (Ordinal(low=1), ["1", "2", "5", "4", "3", "1"]),
]


def resolved(task: Task, cells: list[str]) -> Task:
    """A task as it comes out of the corpus."""
    found = task.resolve(cells)
    return found.fit([found.encode(cell) for cell in cells])


TASKS = [resolved(task, cells) for task, cells in CELLS]
EVERY_KIND = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)


def rows(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of a random head, and the targets of the cells."""
    cells = next(cells for declared, cells in CELLS if declared.kind == task.kind)
    target = torch.tensor([task.encode(cell) for cell in cells], dtype=task.target_dtype)
    assert target.shape == (6, *task.target_shape)
    random = torch.Generator().manual_seed(0)
    return torch.randn(6, task.output_dim, generator=random, requires_grad=True), target


def calibrated(task: Task) -> Task:
    """The task as it comes out of a calibration."""
    values = {"temperature": 2.5} if "temperature" in task.spec() else {"radius": 0.5}
    return task_from_spec({**task.spec(), **values})


def test_every_kind_is_here() -> None:
    assert {task.kind for task in TASKS} == set(KINDS)


@EVERY_KIND
def test_a_task_survives_its_spec_and_json(task: Task) -> None:
    assert task_from_spec(task.spec()) == task
    assert task_from_spec(json.loads(json.dumps(task.spec()))) == task


@EVERY_KIND
def test_a_spec_without_what_calibration_fits_is_not_calibrated(task: Task) -> None:
    fitted = ("temperature", "coverage", "radius")
    spec = calibrated(task).spec()
    assert task_from_spec({name: spec[name] for name in spec if name not in fitted}) == task


@EVERY_KIND
def test_calibration_changes_what_is_stated_but_neither_loss_nor_metrics(task: Task) -> None:
    output, target = rows(task)
    output, other = output.detach(), calibrated(task)
    assert other != task
    assert other.same_outputs(task)
    assert torch.equal(other.row_loss(output, target), task.row_loss(output, target))
    assert other.metrics(output, target) == task.metrics(output, target)
    assert other.confusion(output, target) == task.confusion(output, target)
    decoded = [each.decode(each.predict(output)[0]) for each in (task, other)]
    assert decoded[0] != decoded[1]
    for claims in (task.claims(output, target), other.claims(output, target)):
        assert claims is not None
        assert claims[0].shape == claims[1].shape


@pytest.mark.parametrize(("task", "cells"), CELLS, ids=lambda value: getattr(value, "kind", ""))
def test_the_same_is_measured_on_a_list_and_on_an_array(task: Task, cells: list[str]) -> None:
    assert task.is_open
    found = task.resolve(cells)
    assert not found.is_open
    targets = [found.encode(cell) for cell in cells]
    assert found.fit(targets) == found.fit(np.array(targets, dtype=np.float64)) != task


@EVERY_KIND
def test_a_target_that_stands_in_two_rows_is_itself(task: Task) -> None:
    cells = next(cells for declared, cells in CELLS if declared.kind == task.kind)
    for cell in cells:
        target = task.encode(cell)
        assert task.merge([target]) == target
        if "ratings" not in task.target_columns:  # which has twice as many ratings then
            assert task.merge([target, target]) == target
            assert task.encode(task.describe(target)) == target


@EVERY_KIND
def test_a_batch_without_a_labelled_row_has_a_loss_of_zero_with_a_way_back(task: Task) -> None:
    output, target = rows(task)
    none = torch.zeros(6, dtype=torch.bool)
    loss = labelled_mean(task.row_loss(output[none], target[none]), count=none.sum().float())
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert output.grad is not None
    assert not output.grad.any()


@EVERY_KIND
def test_every_row_has_a_loss_of_its_own_and_reaches_every_output(task: Task) -> None:
    output, target = rows(task)
    loss = task.row_loss(output, target)
    assert loss.shape == (6,)
    single = [task.row_loss(output[row : row + 1], target[row : row + 1]) for row in range(6)]
    torch.testing.assert_close(loss, torch.cat(single))
    loss.sum().backward()
    assert output.grad is not None
    assert bool(output.grad.any(dim=0).all())


@EVERY_KIND
def test_descending_the_loss_finds_the_targets(task: Task) -> None:
    output, target = rows(task)
    optimizer = torch.optim.Adam([output], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        task.row_loss(output, target).sum().backward()
        optimizer.step()
    found = task.metrics(output.detach(), target)[task.primary_metric]
    assert found == pytest.approx(1.0, abs=0.02)


@EVERY_KIND
def test_degenerate_rows_give_numbers_or_none_and_never_nan(task: Task) -> None:
    output, target = rows(task)
    names = set(task.metrics(output.detach()[:0], target[:0]))
    assert task.primary_metric in names
    one, same = output.detach()[:1], output.detach()[:1].expand(6, -1)
    cases = {
        "no row": (output.detach()[:0], target[:0]),
        "one row": (one, target[:1]),
        "constant outputs": (same, target),
        "constant targets": (output.detach(), target[:1].expand(target.shape)),
        "outputs that are not numbers": (same * float("nan"), target),
        "huge outputs": (output.detach() * 1e30, target),
    }
    for case, (outputs, targets) in cases.items():
        result = measure(task, outputs, targets)
        assert result["n"] == len(targets)
        assert set(scalars(result)) == {"loss", *names}, case
        json.dumps(result, allow_nan=False)
        if case in ("no row", "outputs that are not numbers"):
            assert set(scalars(result).values()) == {None}, case
    assert not any(value != value for value in task.metrics(same, target).values()), "NaN"


@EVERY_KIND
def test_predictions_are_decoded_to_plain_values(task: Task) -> None:
    decoded = [task.decode(row) for row in task.predict(rows(task)[0].detach())]
    assert json.loads(json.dumps(decoded)) == decoded
    assert len({json.dumps(row) for row in decoded}) == 6


@EVERY_KIND
def test_only_classes_have_a_confusion_matrix(task: Task) -> None:
    output, target = rows(task)
    counts = task.confusion(output.detach(), target)
    assert (counts is not None) == bool(task.classes)
    if counts is not None:
        assert np.array(counts).shape == (len(task.classes), len(task.classes))
        assert np.array(counts).sum() == 6


@EVERY_KIND
def test_a_summary_counts_every_target(task: Task) -> None:
    cells = next(cells for declared, cells in CELLS if declared.kind == task.kind)
    found = task.summary([task.encode(cell) for cell in cells])
    json.dumps(found)
    assert ("labels" in found) != ("histogram" in found)
    if "histogram" in found:
        assert sum(b["count"] for b in found["histogram"]) == 6


def test_unknown_kind_and_field_are_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"classification.*regression.*'ranking'"):
        task_from_spec({"kind": "ranking"})
    with pytest.raises(ConfigError, match="lo"):
        task_from_spec({"kind": "regression", "lo": 0, "high": 1})


def test_a_negative_or_undefined_weight_is_refused() -> None:
    for weight in (-1.0, float("nan")):
        with pytest.raises(ConfigError, match="weight"):
            Classification(weight=weight)


def test_head_is_linear_in_eval_mode_and_drops_in_training_mode() -> None:
    head = Head(4, 2, dropout=0.5)
    x = torch.randn(64, 4)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.allclose(head(2 * x) - head(x), head(x) - head(0 * x), atol=1e-6)


def test_same_outputs_ignores_what_is_measured_and_nothing_else() -> None:
    score = Regression(low=0.0, high=5.0)
    assert score.same_outputs(Regression(low=0.0, high=5.0, center=1.0, scale=2.0, weight=3.0))
    assert not score.same_outputs(Regression(low=0.0, high=4.0))
    label = Classification(labels=("a", "b"))
    assert not label.same_outputs(Classification(labels=("b", "a")))
    assert not label.same_outputs(score)
