"""What init writes is read by fit as it is, and says why."""

import json
import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse._loaders_dumpers import yaml_load
from pyarrow import parquet

from lit_mtl.commands.init import _yaml
from lit_mtl.commands.train import configured
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


@pytest.mark.slow
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
        (
            "a text,x\nb text,y\n",
            65,
            "found a text,x: the only column; cells are separated by tabs",
        ),
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


@pytest.mark.parametrize(
    "header", ["Text;Label", '"Text";"Label"', "TEXT,LABEL", ",Text,Label", "Text,Label,,"]
)
def test_a_csv_as_spreadsheets_and_pandas_write_it_is_understood(
    lit_mtl: Run, tiny_bert: Path, header: str
) -> None:
    """Its sentences are too short to be told from other words but by their column's name."""
    separator = ";" if ";" in header else ","
    values = {"text": "text {}", "label": "good", "": "{}"}
    names = [name.strip('"').lower() for name in header.split(separator)]
    lines = []
    for n in range(60):
        row = [values[name].format(n) for name in names]
        lines.append(separator.join(row).replace("good", "good" if n % 2 else "bad"))
    Path("rows.csv").write_text("\n".join([header, *lines]) + "\n")
    config, _ = written(lit_mtl, Path("rows.csv"), tiny_bert)
    text, label = [name.strip('"') for name in header.split(separator) if name][:2]
    source = config["data"]["sources"]["mine"]
    assert source == {"path": "rows.csv", "text": text, "tasks": {"label": label}}
    assert lit_mtl("check-data", "--config", "my.yaml") == 0


def save(path: Path, **parts: list[int]) -> None:
    """Save a dataset with these class numbers in each part."""
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    saved = {
        name: datasets.Dataset.from_dict(
            {"text": [f"{name} text {n}" for n in range(len(labels))], "label": labels}, features
        )
        for name, labels in parts.items()
    }
    datasets.DatasetDict(saved).save_to_disk(str(path))


def sizes(lit_mtl: Run, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """The splits' sizes as check-data reports them."""
    capsys.readouterr()
    assert lit_mtl("check-data", "--config", "my.yaml", "--json") == 0
    found = json.loads(capsys.readouterr().out)["splits"]
    return {split: facts["sentences"] for split, facts in found.items()}


def test_the_parts_of_a_saved_dataset_are_its_splits(
    lit_mtl: Run, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a part with a name of its own the config says that it is not read."""
    save(Path("d"), train=[0, 1] * 40, validation=[0, 1] * 6, test=[0, 1] * 5, extra=[-1] * 9)
    config, text = written(lit_mtl, Path("d"), tiny_bert)
    paths = {"path": "d/train", "val_path": "d/validation", "test_path": "d/test"}
    assert config["data"]["sources"]["mine"] == {**paths, "tasks": {"label": "label"}}
    assert "# label: 2 labels: bad 40, good 40" in text
    assert "# extra: not read, its name is that of no split" in text
    assert sizes(lit_mtl, capsys) == {"train": 80, "val": 12, "test": 10}


def test_a_test_part_without_targets_is_left_out_with_a_word(
    lit_mtl: Run, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As that of GLUE, and as `test.csv` of a competition."""
    save(Path("d"), train=[0, 1] * 60, validation=[0, 1] * 6, test=[-1] * 10)
    config, text = written(lit_mtl, Path("d"), tiny_bert)
    assert set(config["data"]["sources"]["mine"]) == {"path", "val_path", "tasks"}
    assert "# test: not read, it has nothing under label" in text
    found = sizes(lit_mtl, capsys)
    assert found["val"] == 12
    assert found["test"] > 1
    Path("my.yaml").unlink()
    Path("c").mkdir()
    lines = "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(90))
    Path("c/train.csv").write_text(f"text,label\n{lines}")
    Path("c/test.csv").write_text("text,id\none,1\n")
    config, text = written(lit_mtl, Path("c"), tiny_bert)
    assert set(config["data"]["sources"]["mine"]) == {"path", "tasks"}
    assert "# test.csv: not read, it has no column 'label'" in text


@pytest.mark.parametrize("names", [("a", "b"), ("test", "validation"), ("dev", "train", "val")])
def test_parts_that_are_no_splits_are_refused_by_name(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> None:
    save(Path("d"), **dict.fromkeys(names, [0, 1] * 30))
    assert lit_mtl("init", "d", "--output", "my.yaml") == 65
    message = f"d: expected a part named train, .*found {', '.join(names)}. Name one of them: d/"
    assert re.search(message, capsys.readouterr().err)


def test_a_single_part_of_a_saved_dataset_is_split_here(lit_mtl: Run, tiny_bert: Path) -> None:
    save(Path("d"), everything=[0, 1] * 60)
    config, _ = written(lit_mtl, Path("d"), tiny_bert)
    assert config["data"]["sources"]["mine"]["path"] == "d/everything"


_WORDS = (
    "null ~ yes No ON 2024 1e3 1E+3 .5 1_000 0x1F 0o7 1:30 2024-01-01 .nan -.inf nan = << - --- ... #"
    " #x a: a:b [x] {x} 'q' -x ?x &a *a !t %p @x `x true None +1 é x,y \\n"
)
NASTY = _WORDS.split()
"""What YAML 1.1, YAML 1.2 or jsonargparse may take for something else than text."""


@pytest.mark.parametrize("loader", [yaml.safe_load, yaml_load])
@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.sampled_from(NASTY))
def test_any_name_is_read_back_as_it_is(loader: Callable[[str], Any], name: str) -> None:
    for value in (name, {name: name}, [name], {"a": {name: 1}}):
        text = _yaml(value)
        assert len(text.splitlines()) == 1
        assert loader(f"key: {text}") == {"key": value}


def test_columns_of_nasty_names_are_those_that_fit_reads(lit_mtl: Run, tiny_bert: Path) -> None:
    for text, split, columns in (("1e3", "yes", NASTY), ("a: b", "2024", ["two\nlines", " #"])):
        names = set(columns) - {text, split}
        rows = [
            {
                text: f"a long text {n}",
                split: ("train", "dev", "test")[n % 3],
                **dict.fromkeys(names, "ab"[n // 3 % 2]),
            }
            for n in range(60)
        ]
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        written(lit_mtl, Path("rows.jsonl"), tiny_bert)
        source = configured("check-data", ["--config", "my.yaml"]).datamodule.sources["mine"]
        assert (source.text, source.split) == (text, split)
        assert source.tasks is not None
        assert sorted(source.tasks.values()) == sorted(names)
        Path("my.yaml").unlink()


def test_a_name_that_no_config_can_have_is_refused(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.tsv").write_text("null\tlabel\n" + "a long text\tx\n" * 9)
    assert lit_mtl("init", "rows.tsv") == 65
    assert "rows.tsv:1: expected another name of the text column" in capsys.readouterr().err


def test_paths_of_any_name_stand_in_comments_and_commands(
    lit_mtl: Run, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(60))
    Path("two\nlines.csv").write_text(f"text,label\n{lines}")
    words = ["init", "two\nlines.csv", "--backbone", tiny_bert, "--output", "my config.yaml"]
    capsys.readouterr()
    assert lit_mtl(*words) == 0
    assert "check-data --config 'my config.yaml'" in capsys.readouterr().out
    config = yaml.safe_load(Path("my config.yaml").read_text())
    assert config["data"]["sources"]["mine"]["path"] == "two\nlines.csv"
    assert lit_mtl("check-data", "--config", "my config.yaml") == 0


def test_a_dataset_of_the_hub_has_to_be_saved_first(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("init", "hub:stanfordnlp/imdb") == 66
    assert "found the name of a dataset of the hub" in capsys.readouterr().err


def test_columns_that_no_task_could_read_stop_nothing(lit_mtl: Run, tiny_bert: Path) -> None:
    columns = {
        "text": [f"text {n}" for n in range(60)],
        "label": ["good", "bad"] * 30,
        "day": [date(2024, 1, 1 + n % 9) for n in range(60)],
        "raw": [b"\xff"] * 60,
        "meta": [{"a": n} for n in range(60)],
        "span": [timedelta(seconds=n) for n in range(60)],
    }
    parquet.write_table(pa.table(columns), "rows.parquet")
    config, text = written(lit_mtl, Path("rows.parquet"), tiny_bert)
    assert list(config["tasks"]) == ["label"]
    assert "# day: not learned, dates are no labels" in text
    for name in ("raw", "meta", "span"):
        assert f"# {name}: not learned, it holds objects, bytes or the like" in text
    assert lit_mtl("check-data", "--config", "my.yaml") == 0
