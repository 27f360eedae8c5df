from pathlib import Path
from typing import Any

import pytest

from lit_mtl.data.inspection import ColumnFacts, guess, is_split_column, look_at, text_column
from lit_mtl.data.tables import open_table
from lit_mtl.errors import DataError


def facts(cells: list[str]) -> ColumnFacts:
    found = ColumnFacts()
    for cell in cells:
        found.add(cell)
    return found


@pytest.mark.parametrize(
    ("cells", "task", "why"),
    [
        (["pos", "neg"] * 9, {"kind": "classification"}, "2 labels: pos 9, neg 9"),
        (
            ["often"] * 40 + ["rare"] * 10,
            {"kind": "classification", "class_weights": "balanced"},
            "2 labels: often 40, rare 10",
        ),
        (["0", "1"] * 9, {"kind": "classification"}, "2 labels: 0 9, 1 9"),
        (["1", "5", "3", "3"] * 3, {"kind": "ordinal", "low": 1, "high": 5}, "3 whole ones"),
        (
            ["1.5", "-2", "0"] * 3,
            {"kind": "regression", "low": -2.0, "high": 1.5},
            "9 numbers from -2 to 1.5",
        ),
        (["0", "100", "57"] * 9, {"kind": "regression", "low": 0.0, "high": 100.0}, "27 numbers"),
        (
            ["4|5|3", "[1, 2.5]", "3"],
            {"kind": "regression_with_spread", "low": 1.0, "high": 5.0},
            "several numbers a cell, from 1 to 5",
        ),
        (["plot|actors", '["plot"]', "music", "[]"], {"kind": "multilabel"}, "actors, music, plot"),
        ([f"word {n}" for n in range(99)], None, "99 different values are no labels"),
        (["same"] * 9, None, "it is always 'same'"),
        (["7"] * 9, None, "it is always 7"),
        ([str(n) for n in range(9)], None, "it numbers the rows"),
        ([], None, "it is empty"),
    ],
)
def test_a_column_is_taken_for_what_its_cells_look_like(
    cells: list[str], task: dict[str, Any] | None, why: str
) -> None:
    found = guess(facts(cells))
    assert found.task == task
    assert why in found.why


def test_a_column_of_splits_is_one() -> None:
    assert is_split_column(facts(["train", "dev", "test", "Train"]))
    assert not is_split_column(facts(["train", "train"]))
    assert not is_split_column(facts(["train", "dev", "other"]))
    assert not is_split_column(facts([]))


def test_memory_does_not_grow_with_the_number_of_different_cells() -> None:
    found = facts([f"value {n}" for n in range(5000)])
    assert found.filled == 5000
    assert len(found.distinct) == 1001
    assert "more than 1,000" in guess(found).why


def test_sentences_are_found_by_name_or_as_the_only_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,review,stars\n1,a very fine film,5\n2,not so good at all,1\n")
    table = open_table(path)
    assert text_column(table, look_at(table)) == "review"
    path.write_text("sentence,review\nx,a very fine film\n")
    table = open_table(path)
    assert text_column(table, look_at(table)) == "sentence"
    path.write_text("title,review\na fine long title,a very fine film\n")
    table = open_table(path)
    with pytest.raises(DataError, match=r"found title, review with three words.*Name it `text`"):
        text_column(table, look_at(table))
