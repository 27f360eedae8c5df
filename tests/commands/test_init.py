"""What init writes is read by fit as it is, and says why."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import EXAMPLE_FILES, Run


def written(lit_mtl: Run, path: Path, backbone: Path) -> tuple[dict[str, Any], str]:
    assert lit_mtl("init", path, "--backbone", backbone, "--output", "my.yaml") == 0
    text = Path("my.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text), text


def test_a_folder_of_labels_and_scores(lit_mtl: Run, tiny_bert: Path) -> None:
    config, text = written(lit_mtl, EXAMPLE_FILES, tiny_bert)
    assert config["tasks"] == {
        "sentiment": {"kind": "classification"},
        "score": {"kind": "regression", "low": -3.4, "high": 3.4},
    }
    assert "# sentiment: 2 labels: negative 20, positive 20" in text
    assert "34 labelled training sentences are few" in text
    assert config["freezing"]["stages"][0]["freeze"] == ["backbone"]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A table as people have them: other names, a split, ids, gaps, and a contradiction."""
    rows = [
        {
            "id": n,
            "Review body": f"review number {n} was {'good' if n % 2 else 'bad'}",
            "class": ("good" if n % 2 else "bad") if n % 7 else None,
            "Stars (1-5)": 1 + n % 5,
            "topics": ["plot", "actors"][: n % 3] if n % 11 else None,
            "part": ("train", "train", "train", "dev", "test")[n % 5],
        }
        for n in range(300)
    ]
    rows.append({**rows[1], "class": "bad"})
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_table_with_columns_of_any_name_is_understood_and_fit_runs_it_unchanged(
    lit_mtl: Run, tiny_bert: Path, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, text = written(lit_mtl, reviews, tiny_bert)
    assert config["data"]["sources"]["mine"] == {
        "path": str(reviews),
        "tasks": {"class": "class", "stars_1_5": "Stars (1-5)", "topics": "topics"},
        "text": "Review body",
        "split": "part",
    }
    kinds = {name: task["kind"] for name, task in config["tasks"].items()}
    assert sorted(kinds.values()) == ["classification", "multilabel", "ordinal"]
    assert "# id: not learned, it numbers the rows" in text
    assert "sentences with several labels: 1 for class" in text
    assert config["data"]["contradictions"] == "drop"
    assert config["data"]["max_length"] % 8 == 0
    brief = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    assert lit_mtl("check-data", "--config", "my.yaml") == 0
    capsys.readouterr()
    assert lit_mtl("fit", "--config", "my.yaml", *brief, "--trainer.enable_progress_bar=false") == 0
    results = json.loads(Path("lightning_logs/runs/version_0/results.json").read_text())
    assert set(results["results"]["test"]) == set(kinds)


def test_the_plan_suits_the_number_of_labelled_sentences(
    lit_mtl: Run, tiny_bert: Path, tmp_path: Path
) -> None:
    stages = {}
    for rows in (100, 600, 3000):
        path = tmp_path / f"rows_{rows}.tsv"
        lines = "".join(f"sentence {n}\t{'ab'[n % 2]}\n" for n in range(rows))
        path.write_text(f"text\tlabel\n{lines}")
        assert lit_mtl("init", path, "--backbone", tiny_bert) == 0
        config = yaml.safe_load(Path(f"rows_{rows}.yaml").read_text())
        plan = config.get("freezing", {"stages": []})["stages"]
        stages[rows] = [stage["name"] for stage in plan]
        batch, epochs = config["data"]["batch_size"], config["trainer"]["max_epochs"]
        assert rows * 0.75 / batch * epochs > 200
    assert stages == {100: ["backbone_frozen"], 600: ["probe", "finetune"], 3000: []}


def test_tables_that_are_named_by_the_splits_are_the_splits(
    lit_mtl: Run, tiny_bert: Path, tmp_path: Path
) -> None:
    """Also with a note beside them, and names of columns that YAML would take for truth values."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, rows in (("train", 90), ("dev", 12), ("test", 15)):
        lines = "".join(f"{name} {n},{'ab'[n % 2]},{n % 2}\n" for n in range(rows))
        (folder / f"{name}.csv").write_text(f"text,label,no\n{lines}")
    (folder / "README.txt").write_text("what this is\n")
    config, _ = written(lit_mtl, folder, tiny_bert)
    source = config["data"]["sources"]["mine"]
    paths = {name: source[name] for name in ("path", "val_path", "test_path")}
    assert [Path(path).name for path in paths.values()] == ["train.csv", "dev.csv", "test.csv"]
    assert set(config["tasks"]) == set(source["tasks"]) == {"label", "no"}
    assert "stratify" not in config["data"]
    assert lit_mtl("check-data", "--config", "my.yaml") == 0


def test_a_note_beside_a_table_of_labels_is_no_class(
    lit_mtl: Run, tiny_bert: Path, tmp_path: Path
) -> None:
    (tmp_path / "README.txt").write_text("what this is\n")
    lines = "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(60))
    (tmp_path / "rows.csv").write_text(f"text,label\n{lines}")
    config, _ = written(lit_mtl, tmp_path, tiny_bert)
    assert list(config["tasks"]) == ["label"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("text,label", "text,label", r"b.csv:1: expected other columns .*; found 'label' again"),
        ("body,label", "text,mood", r"b.csv:1: expected the text column 'body', as in another"),
        (
            "text,label,part",
            "text,mood,x",
            r"b.csv:1: expected the split column 'part', as in another",
        ),
    ],
)
def test_tables_that_are_not_one_source_are_not_made_one(
    lit_mtl: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    first: str,
    second: str,
    message: str,
) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    for name, header in (("a", first), ("b", second)):
        lines = "".join(
            f"a longer text {n},{'ab'[n % 2]},{('train', 'dev', 'test')[n % 3]}\n"
            for n in range(60)
        )
        cells = header.count(",") + 1
        rows = "".join(",".join(line.split(",")[:cells]) + "\n" for line in lines.splitlines())
        (folder / f"{name}.csv").write_text(f"{header}\n{rows}")
    assert lit_mtl("init", folder, "--output", "my.yaml") == 65
    assert re.search(message, capsys.readouterr().err)
    assert not Path("my.yaml").exists()


def test_without_the_backbone_at_hand_words_are_counted(lit_mtl: Run) -> None:
    assert lit_mtl("init", EXAMPLE_FILES, "--output", "my.yaml") == 0
    text = Path("my.yaml").read_text()
    assert "at most 12 words; a word is taken for 1.5 tokens" in text
    assert yaml.safe_load(text)["model"]["backbone"] == "bert-base-uncased"


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 66, "expected a folder or a table, found nothing"),
        ("text\tid\na b c\t1\nd e f\t2\n", 65, "found id: not learned, it numbers the rows"),
        ("text\tlabel\na\tx\nb\ty\n", 65, "expected enough sentences for three splits"),
        ("body\tlabel\na\tx\nb\ty\n", 65, r"a.tsv:1: expected one column of sentences; found none"),
    ],
)
def test_what_cannot_be_learned_from_is_said(
    content: str | None,
    code: int,
    message: str,
    lit_mtl: Run,
    tiny_bert: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        Path("a.tsv").write_text(content)
    assert lit_mtl("init", "a.tsv", "--backbone", tiny_bert) == code
    assert message in capsys.readouterr().err
    assert not Path("a.yaml").exists()


def test_a_file_that_is_there_is_not_written_over(
    lit_mtl: Run, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my.yaml").write_text("mine\n")
    words = ["init", EXAMPLE_FILES, "--backbone", tiny_bert, "--output", "my.yaml"]
    assert lit_mtl(*words) == 2
    assert "my.yaml: is there already" in capsys.readouterr().err
    assert Path("my.yaml").read_text() == "mine\n"
