"""Every kind of task as a head of one model, on partly labelled rows: the config shown in docs/."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from pyarrow import parquet

from lit_mtl import load
from lit_mtl.artifact.bundle import load_checkpoint
from lit_mtl.artifact.onnx_graph import GRAPH, open_session, run_texts
from lit_mtl.checkpoints import SPEC_KEY, read_checkpoint
from lit_mtl.data.outputs import flattened
from lit_mtl.data.splits import SPLITS
from lit_mtl.tasks import KINDS, task_from_spec
from tests.conftest import Run
from tests.pages import config_block
from tests.runs import run_folder
from tests.test_ddp import TWO, fit, split_of

COLUMNS = ("text", "topic", "aspects", "price", "ratings", "votes", "stars")

ROWS: list[tuple[str, ...]] = [
    ("", "plot|actors", "12.5", "4|5|3", "5|5|4", ""),
    ("film", "", "3", "", "", "1"),
    ("", '["music"]', "", "[2, 2.5]", "", "5"),
    ("book", "[]", "", "3", "[1, 1, 5]", "2"),
    ("film", "actors", "0.5", "", "3", "4"),
    ("", "", "7", "", "", "3"),
    ("", "music|plot", "", "1|5", "2|3", ""),
]
"""Targets by column; each column has gaps."""


def config(folder: Path) -> Path:
    """The documentation's config beside the table that it names."""
    path = folder / "kinds.yaml"
    path.write_text(config_block("kinds.yaml"))
    return path


def table(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def reviews() -> list[tuple[str, ...]]:
    """Twelve of each row, and a sentence that stands in two."""
    rows = [(f"review {n} of {len(ROWS)}", *ROWS[n % len(ROWS)]) for n in range(84)]
    second = ("", "music", "9.5", "1", "1", "4")
    return [*rows, (rows[0][0], *second)]


def noisy_reviews(count: int) -> list[tuple[str, ...]]:
    """Rows with all targets, which their words say nine times in ten."""
    drawn = Random(0)
    kinds = {
        "a fine film": ("film", "plot|actors", "12.5", "4|5|3", "5|5|4", "5"),
        "a dull book": ("book", "music", "0.5", "[2, 2.5]", "1|1|2", "2"),
    }
    rows: list[tuple[str, ...]] = []
    for number in range(count):
        words = drawn.choice(list(kinds))
        targets = [
            kinds[words if drawn.random() < 0.9 else drawn.choice(list(kinds))][column]
            for column in range(len(COLUMNS) - 1)
        ]
        rows.append((f"{words}, number {number}", *targets))
    return rows


def words(backbone: Path) -> list[str]:
    return [
        f"--model.backbone={backbone}",
        "--model.lr=1e-3",
        "--model.head_dropout=0",
        "--data.batch_size=8",
        "--data.val_fraction=0.2",
        "--data.test_fraction=0.2",
        "--trainer.max_epochs=2",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--trainer.log_every_n_steps=1",
    ]


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_folder(folder) / "results.json").read_text())
    return found


def test_every_kind_trains_predicts_and_is_reported(
    steady_bert: Path, tmp_path: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(config(tmp_path)), *words(steady_bert)]
    table(tmp_path / "reviews.csv", reviews())
    assert lit_mtl("fit", *arguments) == 0
    shown = capsys.readouterr().out
    assert "topic, test      predicted book    predicted film" in shown
    assert "stars, test      predicted 1" in shown

    found = results(tmp_path)
    assert {task["kind"] for task in found["tasks"].values()} == set(KINDS)
    for split in ("val", "test"):
        for name, column in zip(COLUMNS[1:], range(len(COLUMNS) - 1), strict=True):
            texts = {
                text for text, *targets in reviews() if targets[column] and split_of(text) == split
            }
            assert found["results"][split][name]["n"] == len(texts) > 0, (split, name)
            assert found["results"][split][name]["loss"] is not None

    tasks = found["tasks"]
    assert sum(tasks["topic"]["class_weights"].values()) > 0
    assert tasks["price"]["span"] == [0, 12.5]
    path = run_folder(tmp_path) / "checkpoints" / "best.ckpt"
    carried = read_checkpoint(path)[SPEC_KEY]["tasks"]
    assert json.loads(json.dumps(carried)) == tasks

    (tmp_path / "new.txt").write_text("A fine film.\nreview 3 of 7\n")
    options = ["--input=new.txt", "--output=out.jsonl"]
    assert lit_mtl("predict", "--ckpt_path", path, *options) == 0
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    sentences = ["A fine film.", "review 3 of 7"]
    assert [row.pop("text") for row in rows] == sentences
    rows = [row["predictions"] for row in rows]
    for row, decoded in zip(rows, load_checkpoint(path).predict(sentences), strict=True):
        assert row["stars"]["probabilities"] == pytest.approx(decoded["stars"]["probabilities"])
        assert row["ratings"] == pytest.approx(decoded["ratings"])
        assert row["votes"]["shares"] == pytest.approx(decoded["votes"]["shares"])
    for output in ("out.csv", "out.parquet"):
        options = ["--input=new.txt", f"--output={output}"]
        assert lit_mtl("predict", "--ckpt_path", path, *options) == 0
    with Path("out.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    columns = parquet.read_table("out.parquet").to_pylist()
    for row, cell, column in zip(rows, cells, columns, strict=True):
        labels = row["aspects"]["labels"]
        assert json.loads(cell["aspects.labels"]) == column["aspects.labels"] == labels
        assert int(cell["stars.level"]) == column["stars.level"] == row["stars"]["level"]
    for row in rows:
        assert set(row) == set(COLUMNS[1:])
        assert row["topic"]["label"] in ("book", "film")
        assert set(row["aspects"]["probabilities"]) == {"actors", "music", "plot"}
        assert 0 <= row["price"]["score"] <= 12.5
        assert row["ratings"]["spread"] > 0
        assert 1 <= row["votes"]["score"] <= 5
        assert sum(row["votes"]["shares"].values()) == pytest.approx(1.0)
        assert 1 <= row["stars"]["score"] <= 5
        assert sum(row["stars"]["probabilities"].values()) == pytest.approx(1.0)
        assert row["stars"]["level"] in range(1, 6)

    # what was measured is measured again, and the same
    assert lit_mtl("fit", *arguments, "--ckpt_path=require") == 0
    assert results(tmp_path)["results"] == found["results"]

    # the same declaration on other data, whose measured range is another one
    table(tmp_path / "reviews.csv", [row for row in reviews() if row[3] != "12.5"])
    assert lit_mtl("test", "--ckpt_path", path, *arguments) == 0


@pytest.mark.slow
def test_every_kind_is_calibrated_alike_in_checkpoint_folder_and_graph(
    steady_bert: Path, tmp_path: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    table(tmp_path / "reviews.csv", noisy_reviews(240))
    arguments = ["--config", str(config(tmp_path)), *words(steady_bert), "--data.val_fraction=0.5"]
    assert lit_mtl("fit", *arguments) == 0
    shown = capsys.readouterr().out
    assert "not calibrated" not in shown
    found = results(tmp_path)["calibration"]
    for name in COLUMNS[1:]:
        assert re.search(rf"{name}, val +after ", shown)
        assert found[name]["note"] is None
        assert found[name]["val"]["before"] != found[name]["val"]["after"]

    path = run_folder(tmp_path) / "checkpoints" / "best.ckpt"
    assert lit_mtl("export", "--ckpt_path", path, "--output", "out", "--onnx") == 0
    assert capsys.readouterr().out.count(": calibrated") == len(COLUMNS[1:])
    tasks = json.loads(Path("out/tasks.json").read_bytes())
    for name in ("topic", "aspects", "stars"):
        assert tasks[name]["temperature"] != 1.0
    for name in ("price", "ratings", "votes"):
        assert tasks[name]["radius"] > 0

    sentences = ["A fine film.", "review 3 of 7", "dull " * 50]
    model, folder = load_checkpoint(path), load("out")
    graph = run_texts(folder, open_session(Path("out") / GRAPH), sentences)
    output = model.run(sentences)
    plain = read_checkpoint(path)[SPEC_KEY]["tasks"]
    for name, task in model.network.tasks.items():
        assert task == folder.network.tasks[name] == task_from_spec(tasks[name])
        for row, (one, other) in enumerate(
            zip(model.predict(sentences), folder.predict(sentences), strict=True)
        ):
            assert flattened(one[name]) == pytest.approx(flattened(other[name]), abs=1e-5)
            decoded = task.decode(graph[f"{name}_prediction"][row])
            assert flattened(decoded) == pytest.approx(flattened(one[name]), abs=1e-4)
            if "interval" in decoded:
                ends = graph[f"{name}_interval"][row].tolist()
                assert ends == pytest.approx(decoded["interval"], abs=1e-5)
                assert ends[0] <= decoded["score"] <= ends[1]
        before, after = task_from_spec(plain[name]), task
        one, other = (each.decode(each.predict(output.heads[name])[0]) for each in (before, after))
        assert one != other, "calibration changes what is stated"


def test_check_data_describes_every_kind(
    steady_bert: Path, tmp_path: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(config(tmp_path)), *words(steady_bert)]
    table(tmp_path / "reviews.csv", reviews())
    assert lit_mtl("check-data", *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)["tasks"]
    assert found["topic"]["labels"] == {"book": 12, "film": 24}
    # the repeated sentence gets the label of its second row too
    assert found["aspects"]["labels"] == {"actors": 24, "music": 25, "plot": 24}
    assert found["aspects"]["without_label"] == 12
    assert found["aspects"]["dropped"]["repeated"]["count"] == 1
    assert found["ratings"]["ratings"] == 12 * (3 + 2 + 1 + 2) + 1
    assert found["votes"]["ratings"] == 12 * (3 + 3 + 1 + 2) + 1
    assert found["stars"]["labels"]["4"] == 13
    assert sum(b["count"] for b in found["price"]["histogram"]) == found["price"]["kept"]
    assert lit_mtl("check-data", *arguments) == 0
    text = capsys.readouterr().out
    assert "  97 ratings in all" in text
    assert "  12 sentences that have none of the labels" in text
    assert re.search(r"-> .*(aspects|ratings|stars|price|topic) ", text)


WRONG = [
    ("topic", '["film", "book"]', "kind multilabel"),
    ("aspects", "plot||music", "one is empty"),
    ("price", "-1", "range 0 to"),
    ("price", "cheap", "expected a number"),
    ("ratings", "4|6", "range 1 to 5; found 6"),
    ("votes", "4|6", "ratings from 1 to 5; found 6"),
    ("votes", "4|2.5", "kind regression_with_spread"),
    ("stars", "2.5", "kind regression"),
]


@pytest.mark.parametrize(("name", "cell", "message"), WRONG)
def test_a_wrong_cell_is_refused_with_file_and_line(
    steady_bert: Path,
    tmp_path: Path,
    lit_mtl: Run,
    capsys: pytest.CaptureFixture[str],
    name: str,
    cell: str,
    message: str,
) -> None:
    bad = ["one more", *("" for _ in COLUMNS[1:])]
    bad[COLUMNS.index(name)] = cell
    table(tmp_path / "reviews.csv", [*reviews(), tuple(bad)])
    assert lit_mtl("groups", "--config", config(tmp_path), *words(steady_bert)) == 65
    error = capsys.readouterr().err
    assert "reviews.csv:87: expected" in error
    assert message in error
    assert f"(task {name!r})" in error


def test_a_label_without_training_rows_is_named(
    steady_bert: Path, tmp_path: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    names = (f"rare {number}" for number in range(99))
    held_out = next(text for text in names if split_of(text) != "train")
    table(tmp_path / "reviews.csv", [*reviews(), (held_out, "opera", *("" for _ in COLUMNS[2:]))])
    assert lit_mtl("groups", "--config", config(tmp_path), *words(steady_bert)) == 65
    assert "reviews.csv: Expected training rows of every label" in (
        error := capsys.readouterr().err
    )
    assert "none of opera (task 'topic')" in error


@pytest.mark.slow
def test_two_processes_with_few_labelled_rows_learn_what_one_does(
    steady_bert: Path, tmp_path: Path
) -> None:
    """Most rows have no target of a task, so in most steps a process has none of it."""
    by_split: dict[str, list[str]] = {split: [] for split in SPLITS}
    for number in range(200):
        text = f"film {number}"
        by_split[split_of(text)].append(text)
    rows: list[tuple[str, ...]] = []
    for split, most in (("train", 30), ("val", 8), ("test", 8)):
        for number, text in enumerate(by_split[split][:most]):
            turn, column = divmod(number, len(COLUMNS) - 1)
            targets = ["" for _ in COLUMNS[1:]]
            targets[column] = [row[column] for row in ROWS if row[column]][turn % 3]
            rows.append((text, *targets))
    arguments = [
        "--config",
        str(config(tmp_path)),
        *words(steady_bert),
        "--trainer.precision=64-true",
    ]
    arguments.append(f"--data.path={tmp_path / 'reviews.csv'}")
    table(tmp_path / "reviews.csv", rows)
    (one,), _ = fit(tmp_path / "one", arguments, "--data.batch_size=4")
    two, _ = fit(tmp_path / "two", arguments, "--data.batch_size=2", *TWO)
    for key, value in one.items():
        assert torch.equal(two[0][key], two[1][key]), key
        torch.testing.assert_close(two[0][key], value, atol=1e-12, rtol=0)
    found = [results(tmp_path / name)["results"] for name in ("one", "two")]
    for split, tasks in found[0].items():
        for name, result in tasks.items():
            other = found[1][split][name]
            assert other.pop("confusion_matrix", None) == result.pop("confusion_matrix", None)
            assert other == pytest.approx(result, abs=1e-5)
