from pathlib import Path

import pytest

from lit_mtl.data.sources import find_sources
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from lit_mtl.tasks import Classification, Regression
from lit_mtl.tasks.base import Task

TASKS: dict[str, Task] = {"sentiment": Classification(), "score": Regression(low=-4, high=4)}


def labels_in(folder: Path) -> None:
    for name in ("positive", "negative"):
        (folder / f"{name}.txt").write_text("x\n")


def test_label_files_alone_serve_the_classification(tmp_path: Path) -> None:
    labels_in(tmp_path)
    assert find_sources(tmp_path, TASKS) == {"sentiment": tmp_path}


def test_a_scored_file_alone_serves_the_regression(tmp_path: Path) -> None:
    table = tmp_path / "anything.csv"
    table.write_text("text,score\n")
    assert find_sources(table, TASKS) == {"score": table}


def test_a_folder_with_both_serves_both(tmp_path: Path) -> None:
    labels_in(tmp_path)
    (tmp_path / "scores.tsv").write_text("text\tscore\n")
    (tmp_path / "notes.tsv").write_text("text\tremark\n")
    (tmp_path / "._positive.txt").write_bytes(b"\0")
    expected = {"sentiment": tmp_path, "score": tmp_path / "scores.tsv"}
    assert find_sources(tmp_path, TASKS) == expected
    only_score = {"score": TASKS["score"]}
    assert find_sources(tmp_path, only_score) == {"score": tmp_path / "scores.tsv"}


def test_one_table_may_serve_several_tasks_by_their_columns(tmp_path: Path) -> None:
    table = tmp_path / "rows.tsv"
    table.write_text("text\tsentiment\tscore\n")
    assert find_sources(table, TASKS) == {"sentiment": table, "score": table}


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"positive\.txt.*sentiment or label; score: score\)"):
        find_sources(tmp_path, TASKS)
    with pytest.raises(MissingInputError, match="nowhere"):
        find_sources(tmp_path / "nowhere", TASKS)


def test_what_fits_two_tasks_is_not_guessed(tmp_path: Path) -> None:
    labels_in(tmp_path)
    two: dict[str, Task] = {"tone": Classification(), "topic": Classification()}
    with pytest.raises(ConfigError, match=r"tone.*topic.*data\.files"):
        find_sources(tmp_path, two)
    table = tmp_path / "rows.tsv"
    table.write_text("text\tlabel\n")
    with pytest.raises(ConfigError, match=r"tone.*topic.*both learn from the column 'label'"):
        find_sources(table, two)


def test_two_tables_for_one_task_are_not_chosen_from(tmp_path: Path) -> None:
    for name in ("Ratings.TSV", "scores.csv"):
        (tmp_path / name).write_text("text\tscore\n" if name.endswith("TSV") else "text,score\n")
    with pytest.raises(ConfigError, match=r"Ratings\.TSV and .*scores\.csv both have targets"):
        find_sources(tmp_path, TASKS)
    (tmp_path / "scores.csv").unlink()
    assert find_sources(tmp_path, TASKS) == {"score": tmp_path / "Ratings.TSV"}
