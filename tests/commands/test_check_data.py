"""The report on the data says what training will do with them, and fails where that would."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EXAMPLE_FILES, Run
from tests.pages import config_block

TEXTS = [
    "A fine film.",
    "a  FINE, film",
    "Gut &amp; schön",
    "123 456",
    "Ã¼ber alles",
    "Just right.",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    (path / "good.txt").write_text("\n".join(TEXTS) + "\n\nodd one\nodd one\n", encoding="utf-8")
    (path / "bad.txt").write_text("Dull.\n" + "word " * 40 + "\n")
    scores = ["text\tscore", "Dull.\t-4", "Dull.\t-3", "Just right.\t4", "new\t0", "unknown\t"]
    (path / "scores.tsv").write_text("\n".join(scores))
    (path / "other.csv").write_text("text,stars\na,1\n")
    return path


def words(folder: Path, backbone: Path, *more: str) -> list[str]:
    options = [f"--data.path={folder}", f"--model.backbone={backbone}", "--data.max_length=20"]
    return ["check-data", *options, "--data.val_fraction=0.3", "--data.test_fraction=0", *more]


@pytest.fixture
def report(
    folder: Path, tiny_bert: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    assert lit_mtl(*words(folder, tiny_bert, "--json")) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_row_is_accounted_for(report: dict[str, Any], folder: Path) -> None:
    sentiment, score = report["tasks"]["sentiment"], report["tasks"]["score"]
    for task in (sentiment, score):
        assert task["read"] == task["kept"] + sum(d["count"] for d in task["dropped"].values())
    assert sentiment["labels"] == {"bad": 2, "good": 7}
    assert sentiment["dropped"]["blank"] == {"count": 1, "examples": [f"{folder / 'good.txt'}:7"]}
    assert sentiment["dropped"]["repeated"]["examples"] == [f"{folder / 'good.txt'}:9"]
    assert score["dropped"]["without a target"]["examples"] == [f"{folder / 'scores.tsv'}:6"]
    counts = report["splits"].values()
    assert sum(split["sentences"] for split in counts) == 10
    assert sum(split["labelled"]["score"] for split in counts) == score["kept"] == 3
    assert score["unlabelled_share"] == pytest.approx(0.7)
    assert report["unused"] == {"tables": [str(folder / "other.csv")], "tasks": []}


def test_the_histogram_counts_every_score_once(report: dict[str, Any]) -> None:
    bins = report["tasks"]["score"]["histogram"]
    assert (bins[0]["from"], bins[-1]["to"]) == (-3.5, 4.0)
    assert [b["count"] for b in bins] == [1, 0, 0, 1, 0, 0, 0, 1]


def test_what_deserves_a_look_is_named_with_its_line(report: dict[str, Any], folder: Path) -> None:
    good = folder / "good.txt"
    found = {name: places["examples"] for name, places in report["suspicious"].items()}
    assert found == {
        "no letter": [f"{good}:4"],
        "markup": [f"{good}:3"],
        "wrongly decoded": [f"{good}:5"],
        "control characters": [],
    }
    alike = report["alike"]["within"]["examples"] + report["alike"]["across"]["examples"]
    assert len(alike) == 1
    assert f"{good}:1 (" in alike[0]
    assert f"{good}:2 (" in alike[0]
    assert report["lengths"]["cut"]["examples"] == [f"{folder / 'bad.txt'}:2"]
    assert report["lengths"]["max"] == report["lengths"]["max_length"] == 20


def test_the_rows_shown_are_what_the_model_sees(report: dict[str, Any]) -> None:
    assert len(report["rows"]) == 3
    for row in report["rows"]:
        assert row["tokens"][0] == "[CLS]"
        assert row["tokens"][-1] == "[SEP]"
        assert row["targets"]


def test_the_text_says_the_same(
    folder: Path, tiny_bert: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl(*words(folder, tiny_bert)) == 0
    text = capsys.readouterr().out
    for part in (
        "sentiment (classification), from",
        "11 rows read, 9 sentences kept, 10.0% of all sentences without a target",
        f"  1 repeated:\n    {folder / 'good.txt'}:9",
        "  good  7  ##############################",
        f"  1 cut to 20 tokens:\n    {folder / 'bad.txt'}:2",
        f"  1 markup:\n    {folder / 'good.txt'}:3",
        f"  not read, no task learns from it: {folder / 'other.csv'}",
        "[CLS]",
    ):
        assert part in text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_a_contradiction_is_reported_and_then_refused_as_fit_does(
    folder: Path, tiny_bert: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "bad.txt").open("a") as file:
        file.write("odd one\n")
    messages = []
    for command in ("check-data", "fit"):
        assert lit_mtl(command, *words(folder, tiny_bert)[1:]) == 65
        printed = capsys.readouterr()
        messages.append(printed.err.strip().splitlines()[-1].removeprefix(f"lit_mtl {command}: "))
        if command == "check-data":
            assert "  3 contradictory:" in printed.out
            assert "  1 contradictions:" in printed.out
    assert messages[0] == messages[1]
    assert f"{folder / 'bad.txt'}:3 says bad" in messages[0]
    assert lit_mtl(*words(folder, tiny_bert, "--data.contradictions=keep")) == 0


def test_what_training_would_refuse_is_refused(
    folder: Path, tiny_bert: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "scores.tsv").open("a") as file:
        file.write("\nbeyond\t7")
    assert lit_mtl(*words(folder, tiny_bert)) == 65
    assert "scores.tsv:7: expected a score within" in capsys.readouterr().err


def test_the_same_seed_shows_the_same_rows(
    tiny_bert: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for seed in (0, 0, 1):
        assert lit_mtl(*words(EXAMPLE_FILES, tiny_bert, "--json", f"--seed_everything={seed}")) == 0
        shown.append([row["where"] for row in json.loads(capsys.readouterr().out)["rows"]])
    assert shown[0] == shown[1] != shown[2]


def test_the_sources_of_the_readme_are_read_as_it_says(
    tiny_bert: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sources.yaml").write_text(config_block("sources.yaml"))
    reviews = [f"review {n},{1 + n % 5},product {n % 7}" for n in range(60)]
    Path("reviews.csv").write_text("\n".join(["body,rating,product", *reviews]))
    for folder, rows in (("forum", 40), ("forum_test", 9)):
        Path(folder).mkdir()
        for tone in ("calm", "angry"):
            lines = [f"{folder} post {n}, {tone}" for n in range(rows)]
            Path(folder, f"{tone}.txt").write_text("\n".join(lines))
    parts = ("train", "dev", "test")
    survey = [
        {"text": f"answer {n}", "tone": "calm", "score": 3, "part": parts[n % 3]} for n in range(30)
    ]
    Path("survey.jsonl").write_text("\n".join(map(json.dumps, survey)))
    words = ["check-data", "--config=sources.yaml", f"--model.backbone={tiny_bert}", "--json"]
    assert lit_mtl(*words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"]["tone"]["kept"] == 80 + 18 + 30
    assert found["tasks"]["stars"]["kept"] == 60 + 30
    assert found["sources"]["tone"] == ["forum", "forum_test", "survey.jsonl"]
    # the forum's test split is its own folder, and the survey's is what its column says
    assert found["splits"]["test"]["labelled"]["tone"] == 18 + 10


def test_a_task_of_which_nothing_is_left_is_reported(
    tiny_bert: Path, tmp_path: Path, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "torn"
    folder.mkdir()
    films = [f"film {number}" for number in range(40)]
    (folder / "good.txt").write_text("\n".join(films))
    (folder / "bad.txt").write_text("\n".join(reversed(films)))
    scores = [f"other film {number}\t{number % 5 - 2}" for number in range(40)]
    (folder / "scores.tsv").write_text("\n".join(["text\tscore", *scores]))
    assert lit_mtl(*words(folder, tiny_bert)) == 65
    printed = capsys.readouterr()
    assert "0 sentences kept" in printed.out
    assert "says bad" in printed.err
