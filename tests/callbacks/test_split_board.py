from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from lit_mtl.callbacks.split_board import SplitBoard, by_length, by_name
from lit_mtl.callbacks.split_rows import SplitRows
from lit_mtl.tasks.base import Task
from tests.callbacks.test_split_rows import KINDS, TOPIC, right_rows, split_rows


def shown(folder: Path, rows: SplitRows) -> dict[str, Any]:
    """The tags of each kind that a board without a corpus writes."""
    writer = SummaryWriter(str(folder))
    board = SplitBoard(writer, None, moment="val", step=3, sample_rows=5)
    board.show("topic", rows, calibrated=True)
    writer.close()
    events = EventAccumulator(str(folder))
    events.Reload()
    found: dict[str, Any] = events.Tags()
    return found


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind)
def test_each_kind_has_its_figures(task: Task, tmp_path: Path) -> None:
    names = {"val/topic/reliability"}
    if task.classes:
        names.add("val/topic/confusion_matrix")
    rows = right_rows(task)
    if rows.scores() is not None:
        names.add("val/topic/predicted_against_true")
    tags = shown(tmp_path, rows)
    assert set(tags["images"]) == names
    assert tags["tensors"] == [f"val/topic/{label}" for label in rows.chances()]


def test_a_label_that_no_row_has_gets_no_curve(tmp_path: Path) -> None:
    rows = split_rows(TOPIC, torch.eye(2), torch.tensor([1, 1]))
    assert shown(tmp_path, rows)["tensors"] == ["val/topic/film"]


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind)
def test_a_task_without_rows_shows_nothing(task: Task, tmp_path: Path) -> None:
    tags = shown(tmp_path, right_rows(task, rows=0))
    assert tags["images"] == tags["tensors"] == []


@pytest.mark.parametrize(
    "lengths", [[7], [3] * 20, [3, 9], list(range(3, 103)), [3] * 90 + [40, 128]]
)
def test_groups_by_length_part_the_rows(lengths: list[int]) -> None:
    values = np.array(lengths)
    groups = by_length(values.astype(np.float32), values)
    assert sorted(value for group in groups.values() for value in group) == sorted(lengths)
    assert 1 <= len(groups) <= 5
    for name, group in groups.items():
        assert len(group), name
        ends = [int(end) for end in name.split("-")]
        assert ends[0] <= group.min()
        assert group.max() == ends[-1]


def test_of_many_sources_the_largest_are_shown_under_their_names() -> None:
    names = [f"source {number}" for number in range(12)]
    group = np.repeat(np.arange(12), [0, 3, 3, 3, 3, 1, 3, 3, 3, 2, 9, 1])
    found = by_name(group.astype(np.float32), group, names)
    assert set(found) == {f"source {number}" for number in (1, 2, 3, 4, 6, 7, 8, 10)}
    for name, errors in found.items():
        assert set(errors.tolist()) == {float(name.split()[1])}
