"""A batch made of Arrow's columns is the one that a loop over the rows would make."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_mtl.data.batch import batch_columns, make_batch
from lit_mtl.tasks import Classification, Multilabel, Regression
from lit_mtl.tasks.base import Task

TASKS: dict[str, Task] = {
    "mood": Classification(labels=("a", "b", "c")),
    "stars": Regression(low=0, high=5),
    "topics": Multilabel(labels=("x", "y")),
    "elsewhere": Multilabel(labels=("x", "y")),
}
PAD = 7

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "row_id": st.integers(0, 2**40),
            "input_ids": st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9),
            "target.mood": st.none() | st.integers(0, 2),
            "target.stars": st.none() | st.floats(0, 5),
            "target.topics": st.none()
            | st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=2),
        }
    ),
    min_size=1,
    max_size=12,
)
SCHEMA = pa.schema(
    {
        "row_id": pa.int64(),
        "input_ids": pa.list_(pa.int32()),
        "target.mood": pa.int64(),
        "target.stars": pa.float64(),
        "target.topics": pa.list_(pa.float64()),
    }
)


@given(rows=ROWS, cut=st.integers(0, 12))
def test_a_batch_is_what_a_loop_over_its_rows_makes(rows: list[dict[str, Any]], cut: int) -> None:
    """Padding and missing targets aside, nothing is changed; in however many chunks the rows come."""
    whole = pa.Table.from_pylist(rows, SCHEMA)
    batch = make_batch(pa.concat_tables([whole[:cut], whole[cut:]]), TASKS, pad=PAD)
    longest = max(len(row["input_ids"]) for row in rows)
    for index, row in enumerate(rows):
        ids = row["input_ids"]
        padding = longest - len(ids)
        assert batch["input_ids"][index].tolist() == ids + [PAD] * padding
        assert batch["attention_mask"][index].tolist() == [1] * len(ids) + [0] * padding
        for name, task in TASKS.items():
            target = row.get(f"target.{name}")
            assert batch["labelled"][name][index].item() is (target is not None)
            expected = np.zeros(task.target_shape) if target is None else target
            wanted = torch.tensor(expected, dtype=task.target_dtype)
            assert torch.equal(batch["targets"][name][index], wanted)
            assert batch["targets"][name].dtype == task.target_dtype
    assert batch["row_id"].tolist() == [row["row_id"] for row in rows]
    assert batch["tokens"] == sum(len(row["input_ids"]) for row in rows)
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64


def test_the_columns_are_those_that_are_read_and_those_that_name_rows() -> None:
    assert batch_columns({"mood": TASKS["mood"]}) == [
        "row_id",
        "file",
        "number",
        "input_ids",
        "target.mood",
    ]
