"""Every format gives the same rows, and every wrong table a message with its place."""

import csv
import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from hypothesis import given
from pyarrow import parquet

from lit_mtl.data.tables import FORMATS, files_of, open_table
from lit_mtl.errors import DataError, MissingInputError
from tests.data.table_rows import read
from tests.data.test_readers import SENTENCES, damaged, write

Pairs = Sequence[tuple[str, str]]


def write_tsv(path: Path, rows: Pairs) -> Path:
    lines = "".join(f"{text}\t{score}\n" for text, score in rows)
    return write(path.with_suffix(".tsv"), f"text\tscore\n{lines}")


def write_csv(path: Path, rows: Pairs) -> Path:
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "score"), *rows])
    return path.with_suffix(".csv")


def write_json_lines(path: Path, rows: Pairs) -> Path:
    lines = [json.dumps({"text": text, "score": float(score)}) for text, score in rows]
    return write(path.with_suffix(".jsonl"), "\n".join(lines))


def write_parquet(path: Path, rows: Pairs) -> Path:
    columns = {"text": [text for text, _ in rows], "score": [float(score) for _, score in rows]}
    parquet.write_table(pa.table(columns), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


WRITERS: dict[str, Callable[[Path, Pairs], Path]] = {
    "tsv": write_tsv,
    "csv": write_csv,
    "jsonl": write_json_lines,
    "parquet": write_parquet,
}


@pytest.mark.parametrize("kind", WRITERS)
@given(texts=SENTENCES)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, kind: str, texts: list[str]
) -> None:
    rows = [(text, str(number / 2)) for number, text in enumerate(texts)]
    path = WRITERS[kind](tmp_path_factory.mktemp("round_trip") / "a", rows)
    assert read(path) == rows


@pytest.mark.parametrize("kind", WRITERS)
def test_five_thousand_damaged_tables_are_read_or_refused_as_data(
    tmp_path: Path, kind: str
) -> None:
    path = WRITERS[kind](tmp_path / "a", [("gut", "1.5"), ('schön, "so"', "-2"), ("Satz", "0")])
    content, draw, read_whole = path.read_bytes(), random.Random(0), 0
    for _ in range(5000):
        write(path, damaged(content, draw))
        with suppress(DataError):
            assert all(text.strip() for text, _ in read(path))
            read_whole += 1
    assert 0 < read_whole < 4900


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "text\ttext\tscore\n", r"a\.tsv:1: .*twice: text"),
        ("a.json", "[]", r"a\.json: .*\.jsonl.*read line by line"),
        ("a.xlsx", "", r"a\.xlsx: expected a table ending in \.tsv, \.csv"),
        ("a.csv", "PAR1", r"a\.csv: expected text; found a Parquet file"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_that_is_not_there_is_missing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(MissingInputError, match="found nothing"):
        open_table(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("kind", WRITERS)
def test_rows_come_one_after_the_other_from_a_file_that_goes_wrong_later(
    tmp_path: Path, kind: str
) -> None:
    """No format is read as a whole before its first row is there."""
    path = WRITERS[kind](tmp_path / "a", [(f"sentence {n}", "1.5") for n in range(100_000)])
    table = open_table(path)
    rows = table.read(["text"])
    assert next(rows).cells == ["sentence 0"]
    if kind != "parquet":  # whose pages are read by Arrow
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
        with pytest.raises(DataError, match=r"0xff"):
            list(table.read(["text"]))


def test_the_files_of_a_folder_are_those_that_can_be_read(tmp_path: Path) -> None:
    """Neither a run that lies in it nor a script changes what the data are."""
    for name in ("a.txt", "b.TSV", ".c.csv", "run.py", "runs/d.txt"):
        write(tmp_path / name, "x")
    assert [path.name for path in files_of(tmp_path)] == ["a.txt", "b.TSV"]
    assert files_of(tmp_path / "run.py") == [tmp_path / "run.py"]
    assert files_of(tmp_path / "nowhere") == []
    saved = datasets.Dataset.from_dict({"text": ["a"], "score": [1.0]})
    saved.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": saved}).save_to_disk(str(tmp_path / "parts"))
    for path, table in (("one", "one"), ("parts", "parts/train")):
        assert set(files_of(tmp_path / path)) >= set(open_table(tmp_path / table).files) != set()
