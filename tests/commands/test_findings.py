"""What lies at a path is one source and its tasks, or is refused by name."""

import json
import re
from datetime import date, timedelta
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.commands.test_init import written
from tests.conftest import Run


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


def test_a_name_that_no_config_can_have_is_refused(
    lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.tsv").write_text("null\tlabel\n" + "a long text\tx\n" * 9)
    assert lit_mtl("init", "rows.tsv") == 65
    assert "rows.tsv:1: expected another name of the text column" in capsys.readouterr().err


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
