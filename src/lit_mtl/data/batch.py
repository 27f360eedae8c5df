"""One batch, made of rows of the prepared data as Arrow gives them, without a Python object a row."""

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_mtl.data.corpus import target_column
from lit_mtl.tasks.base import Task


class Batch(TypedDict):
    """What the collate step makes.

    `input_ids` and `attention_mask` are (B, T), `row_id` is (B,). `targets[task]` is (B, …) in the
    task's own shape, with meaningless zeros where `labelled[task]`, (B,), is False. `tokens` are
    counted without padding, by the processor, so that nobody has to ask another device for them.
    """

    input_ids: Tensor
    attention_mask: Tensor
    row_id: Tensor
    targets: dict[str, Tensor]
    labelled: dict[str, Tensor]
    tokens: int


def batch_columns(tasks: Mapping[str, Task]) -> list[str]:
    """The columns that `make_batch` reads, and those that name the rows in messages."""
    return ["row_id", "file", "number", "input_ids", *map(target_column, tasks)]


def make_batch(rows: pa.Table, tasks: Mapping[str, Task], *, pad: int) -> Batch:
    """Pad rows to the longest of them and separate targets from what is missing.

    Args:
        rows: B rows with the columns of `batch_columns`; a task whose column is not there has no
            targets.
        tasks: the tasks by name.
        pad: id of the padding.
    """
    ids = rows.column("input_ids").combine_chunks()
    counts = pa.compute.list_value_length(ids).to_numpy(zero_copy_only=False)
    mask = np.arange(counts.max()) < counts[:, None]
    padded = np.full(mask.shape, pad, np.int64)
    padded[mask] = ids.flatten().to_numpy(zero_copy_only=False)
    targets, labelled = {}, {}
    for name, task in tasks.items():
        values, known = _targets(rows, target_column(name), task.target_shape)
        targets[name] = torch.from_numpy(values).to(task.target_dtype)
        labelled[name] = torch.from_numpy(known)
    return Batch(
        input_ids=torch.from_numpy(padded),
        attention_mask=torch.from_numpy(mask).long(),
        row_id=torch.tensor(rows.column("row_id").to_numpy()),
        targets=targets,
        labelled=labelled,
        tokens=int(counts.sum()),
    )


def _targets(
    rows: pa.Table, column: str, shape: tuple[int, ...]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Targets (B, …), zeros where there are none, and where there are some (B,)."""
    if column not in rows.column_names:
        return np.zeros((len(rows), *shape)), np.zeros(len(rows), np.bool_)
    found = rows.column(column).combine_chunks()
    known = found.is_valid().to_numpy(zero_copy_only=False)
    cells = found.drop_null() if found.null_count else found
    if shape:
        cells = cells.flatten()
    values = np.zeros((len(rows), *shape), cells.type.to_pandas_dtype())
    values[known] = cells.to_numpy(zero_copy_only=False).reshape(-1, *shape)
    return values, known
