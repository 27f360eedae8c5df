from pathlib import Path
from typing import Any

import datasets
import pytest

from lit_mtl.data.sources import Findings, Source, find_sources, refuse_wrong_sources
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from lit_mtl.tasks import Classification, Regression
from lit_mtl.tasks.base import Task

TASKS: dict[str, Task] = {"sentiment": Classification(), "score": Regression(low=-4, high=4)}


def labels_in(folder: Path) -> None:
    for name in ("positive", "negative"):
        (folder / f"{name}.txt").write_text(f"{name}\n")


def find(path: Path, declared: dict[str, Task] = TASKS, **options: Any) -> Findings:
    return find_sources({"data": Source(path=str(path), **options)}, declared)


def served(findings: Findings) -> dict[str, list[Path]]:
    names = {name for feed in findings.feeds for name in feed.columns}
    return {name: findings.paths(name) for name in names}


def test_label_files_alone_serve_the_classification(tmp_path: Path) -> None:
    labels_in(tmp_path)
    assert served(find(tmp_path)) == {"sentiment": [tmp_path]}


def test_a_scored_file_alone_serves_the_regression(tmp_path: Path) -> None:
    table = tmp_path / "anything.csv"
    table.write_text("text,score\n")
    assert served(find(table)) == {"score": [table]}


def test_a_folder_with_both_serves_both_and_names_what_it_does_not_read(tmp_path: Path) -> None:
    labels_in(tmp_path)
    (tmp_path / "scores.tsv").write_text("text\tscore\n")
    (tmp_path / "notes.tsv").write_text("text\tremark\n")
    (tmp_path / "._positive.txt").write_bytes(b"\0")
    found = find(tmp_path)
    assert served(found) == {"sentiment": [tmp_path], "score": [tmp_path / "scores.tsv"]}
    assert found.unused == [tmp_path / "notes.tsv"]
    only_score = {"score": TASKS["score"]}
    assert served(find(tmp_path, only_score)) == {"score": [tmp_path / "scores.tsv"]}


def test_one_table_serves_several_tasks_and_is_read_once(tmp_path: Path) -> None:
    table = tmp_path / "rows.tsv"
    table.write_text("text\tsentiment\tscore\n")
    found = find(table)
    assert served(found) == {"sentiment": [table], "score": [table]}
    assert len(found.feeds) == 1


def test_groups_of_text_files_come_from_a_table_beside_them(tmp_path: Path) -> None:
    for name in ("positive", "negative"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\n")
    with pytest.raises(DataError, match="expected a table with the group column 'doc' and"):
        find(tmp_path, group="doc")
    (tmp_path / "scores.tsv").write_text("text\tscore\n")
    with pytest.raises(DataError, match=r"scores\.tsv:1: expected the group column 'doc'"):
        find(tmp_path, group="doc")
    (tmp_path / "scores.tsv").write_text("text\tscore\tdoc\n")
    (tmp_path / "titles.tsv").write_text("title\tdoc\n")
    found = find(tmp_path, group="doc")
    assert [feed.group_column for feed in found.feeds] == [None, "doc"]
    assert found.unused == [tmp_path / "titles.tsv"]
    # and if no task learns from the table, it is read for its groups
    found = find(tmp_path, {"sentiment": TASKS["sentiment"]}, group="doc")
    assert [feed.columns for feed in found.feeds] == [{"sentiment": "label"}, {}]
    assert found.feeds[1].group_column == "doc"
    assert served(found) == {"sentiment": [tmp_path]}
    assert found.unused == [tmp_path / "titles.tsv"]


def test_a_corpus_of_documents_is_grouped_by_them() -> None:
    assert Source(corpus="amazon").grouping == Source(corpus="nyt").grouping == "document"
    assert Source(corpus="amazon", group="own").grouping == "own"
    assert Source(corpus="movies").grouping is Source(path="a").grouping is None


def test_columns_and_the_sentence_may_be_named(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("review,text,stars,part,doc\n")
    found = find(table, text="review", tasks={"score": "stars"}, split="part", group="doc").feeds[0]
    assert (found.text, found.columns) == ("review", {"score": "stars"})
    assert (found.split_column, found.group_column) == ("part", "doc")
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"text": "body"}, "expected a column named body; found the columns review"),
        ({"split": "fold"}, "expected the split column 'fold'; found the columns review"),
        ({"tasks": {"score": "rating"}}, "columns rating for score; found the columns "),
        (
            {"tasks": {"score": "stars", "sentiment": "mood"}},
            "columns mood for sentiment; found the columns review, text, stars, part, doc",
        ),
    )
    for option, message in wrong:
        with pytest.raises(DataError, match=message):
            find(table, **{"tasks": {"score": "stars"}, **option})
    with pytest.raises(ConfigError, match=r"source 'data' to be out of \['score', .*\['mood'\]"):
        find(table, tasks={"mood": "stars"})


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"positive\.txt.*sentiment or label; score: score\)"):
        find(tmp_path)
    with pytest.raises(MissingInputError, match="nowhere"):
        find(tmp_path / "nowhere")
    labels_in(tmp_path)
    with pytest.raises(DataError, match="score"):
        find(tmp_path, {"score": TASKS["score"]})


def test_what_fits_two_tasks_is_not_guessed(tmp_path: Path) -> None:
    labels_in(tmp_path)
    two: dict[str, Task] = {"tone": Classification(), "topic": Classification()}
    with pytest.raises(ConfigError, match=r"tone.*topic.*column 'label'.*data\.sources"):
        find(tmp_path, two)
    assert served(find(tmp_path, two, tasks={"topic": "label"})) == {"topic": [tmp_path]}
    table = tmp_path / "rows.tsv"
    table.write_text("text\tlabel\n")
    with pytest.raises(ConfigError, match=r"tone.*topic.*both learn from the column 'label'"):
        find(table, two)


def test_two_tables_for_one_task_are_not_chosen_from(tmp_path: Path) -> None:
    for name in ("Ratings.TSV", "scores.csv"):
        (tmp_path / name).write_text("text\tscore\n" if name.endswith("TSV") else "text,score\n")
    with pytest.raises(ConfigError, match=r"Ratings\.TSV and .*scores\.csv both have targets"):
        find(tmp_path)
    (tmp_path / "scores.csv").unlink()
    assert served(find(tmp_path)) == {"score": [tmp_path / "Ratings.TSV"]}


def test_files_of_their_own_make_the_splits(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.tsv").write_text("text\tscore\n")
    paths: dict[str, Any] = {
        "val_path": str(tmp_path / "b.tsv"),
        "test_path": str(tmp_path / "c.tsv"),
    }
    found = find(tmp_path / "a.tsv", **paths)
    assert [(feed.table.path.name, feed.split) for feed in found.feeds] == [
        ("a.tsv", None),
        ("b.tsv", "val"),
        ("c.tsv", "test"),
    ]


def test_the_parts_of_a_saved_dataset_are_its_splits(tmp_path: Path) -> None:
    part = datasets.Dataset.from_dict({"text": ["a"], "score": [1.0]})
    names = {"train": "train", "validation": "val", "test": "test"}
    datasets.DatasetDict(dict.fromkeys(names, part)).save_to_disk(str(tmp_path / "three"))
    found = find(tmp_path / "three")
    assert {feed.table.path.name: feed.split for feed in found.feeds} == names
    with pytest.raises(ConfigError, match=r"from one place, but got `split`, and parts of .*three"):
        find(tmp_path / "three", split="score")
    one = find(tmp_path / "three" / "test").feeds[0]
    assert (one.table.path.name, one.split) == ("test", None)
    datasets.DatasetDict({"train": part, "unsupervised": part}).save_to_disk(
        str(tmp_path / "other")
    )
    with pytest.raises(DataError, match=r"several, name one of them: .*other/unsupervised"):
        find(tmp_path / "other")


def test_a_dataset_of_the_hub_that_cannot_be_fetched_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # read from the environment when these were imported
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingInputError, match=r"hub:nobody/nothing: expected a dataset of"):
        find_sources({"data": Source(path="hub:nobody/nothing")}, TASKS)


def test_a_corpus_has_a_default_folder() -> None:
    assert Source(corpus="tweets").paths() == {None: "data/tweets"}
    given = Source(corpus="tweets", path="mine", test_path="its")
    assert given.paths() == {None: "mine", "test": "its"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "to have a `path` or a `corpus`, but got neither"),
        ({"corpus": "books"}, "to be one of movies, tweets, amazon, nyt, but got 'books'"),
        ({"corpus": "nyt", "path": "hub:x"}, "to be a folder for the corpus nyt, but got 'hub:x'"),
        ({"path": "x", "weight": -1.0}, "to be at least 0, but got -1.0"),
        ({"path": "x", "weight": float("nan")}, "to be at least 0, but got nan"),
    ],
)
def test_a_wrong_source_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"the source 'second' {message}"):
        refuse_wrong_sources({"first": Source(path="x"), "second": Source(**options)})


def test_a_named_column_of_sentences_is_that_of_tables_and_not_of_text_files(
    tmp_path: Path,
) -> None:
    labels_in(tmp_path)
    with pytest.raises(
        DataError, match=r"the column of sentences 'review'; found the columns text, label"
    ):
        find(tmp_path, text="review")
    (tmp_path / "scores.csv").write_text("review,score\na,1\n")
    feeds = find(tmp_path, text="review").feeds
    assert {feed.table.path.name: feed.text for feed in feeds} == {
        tmp_path.name: "text",
        "scores.csv": "review",
    }
