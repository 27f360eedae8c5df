import json
from pathlib import Path
from typing import Any

import pytest

from lit_mtl.data.inspection import (
    ColumnFacts,
    guess,
    guess_named,
    is_split_column,
    look_at,
    text_column,
)
from lit_mtl.data.tables import open_table
from lit_mtl.errors import DataError


def facts(cells: list[str]) -> ColumnFacts:
    found = ColumnFacts()
    for cell in cells:
        found.add(cell)
    return found


INTENTS = [f"intent {n}" for n in range(150)]
"""As many as CLINC150 has; BANKING77 has 77."""


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
        (INTENTS * 10, {"kind": "classification"}, "150 labels: intent 0 10, "),
        (INTENTS * 9, None, "in 1,350 cells labels would recur, 10 times on the mean"),
        ([f"user {n}" for n in range(1001)] * 10, None, "more than 1,000 different values"),
        ([f"tag {n}|tag {n + 1}" for n in range(90)] * 11, {"kind": "multilabel"}, "91 labels"),
        ([f'["{n}a", "{n}b"]' for n in range(90)], None, "lists of 180 different values"),
        ([f"free text {n}" for n in range(30)] + ["a|b"], None, "31 different values"),
        (["2024-01-31", "2024-02-01T10:00:00"] * 9, None, "dates are no labels"),
        (["1,5", "2", "-0,5"] * 9, None, "decimals stand behind a comma"),
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


def test_whole_numbers_under_label_are_classes_and_elsewhere_levels_or_scores() -> None:
    banking = facts([str(n) for n in range(77)] * 10)
    stars = facts(["0", "1", "2", "3"] * 5)
    kinds = [
        (guess(cells, name).task or {}).get("kind")
        for cells in (banking, stars)
        for name in ("Label", "x")
    ]
    assert kinds == ["classification", "regression", "classification", "ordinal"]


def test_whole_numbers_of_a_name_of_ids_are_ids() -> None:
    numbers = facts([str(n * n * 997) for n in range(60)])
    names = ("id", "Tweet_ID", "user id", "idx", "userId", "postID", "Index")
    for name in names:
        assert guess(numbers, name).task is None
        assert "by its name are ids" in guess(numbers, name).why
    for name in ("paid", "price_index", "grid", "x"):
        assert (guess(numbers, name).task or {})["kind"] == "regression"
    assert (guess(facts(["1", "2", "4"] * 3), "topic_id").task or {})["kind"] == "ordinal"
    assert (guess(facts(["0.5", "2", "4"] * 3), "id").task or {})["kind"] == "regression"


def test_names_of_files_are_labels_however_many_there_are() -> None:
    found = guess_named(facts([f"intent {n}" for n in range(60)]))
    assert found.task == {"kind": "classification"}
    assert guess_named(facts(["1", "2", "4"] * 3)).task == {"kind": "ordinal", "low": 1, "high": 4}


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
    path.write_text("Title,TEXT\na fine long title,x\n")
    table = open_table(path)
    assert text_column(table, look_at(table)) == "TEXT"
    path.write_text("title,review\na fine long title,a very fine film\n")
    table = open_table(path)
    with pytest.raises(DataError, match=r"found title, review with three words.*Name it `text`"):
        text_column(table, look_at(table))


def test_what_no_task_reads_is_no_target_and_no_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"s": "one two three", "o": {"a b c d": 1}}, {"s": "four five six", "o": "x y z"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = look_at(open_table(path))
    assert text_column(open_table(path), facts) == "s"
    assert guess(facts["o"]).why == "it holds objects, bytes or the like"


def test_whole_scores_between_the_same_ends_do_not_number_the_rows(tmp_path: Path) -> None:
    """However many rows there are, of which only so many different cells are kept."""
    cells = [str(number * 7919 % 1001) for number in range(5000)]
    assert guess(facts(cells)).task == {"kind": "regression", "low": 0.0, "high": 1000.0}
    assert guess(facts([str(number) for number in range(5000)])).task is None


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("a.csv", "review,label\na film to see,pos\n10,neg\none to forget soon,neg\n"),
        (
            "a.jsonl",
            '{"review": "a film to see", "ratings": [1, 2, 3]}\n'
            '{"review": "one to forget soon", "ratings": [1, 2, 2]}\n',
        ),
    ],
)
def test_a_number_among_sentences_does_not_hide_them_and_lists_are_none(
    tmp_path: Path, name: str, rows: str
) -> None:
    (tmp_path / name).write_text(rows)
    table = open_table(tmp_path / name)
    assert text_column(table, look_at(table)) == "review"


def test_sentences_may_have_bars_in_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "review,label\ntitle | a film to see,pos\nno | not so good,neg\n"
    )
    table = open_table(tmp_path / "a.csv")
    assert text_column(table, look_at(table)) == "review"
