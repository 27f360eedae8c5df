import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from lit_mtl.data.outputs import flattened, row_writer
from lit_mtl.data.table_cells import Verbatim
from lit_mtl.errors import ConfigError

FOUND = {
    "a": {"label": "x", "probabilities": {"x": 0.75, "y": 0.25}},
    "s": {"interval": [1.0, 2.0]},
}
EXAMPLE = {"id": "", "text": "", "predictions": FOUND}
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def written(path: Path, parts: list[list[dict[str, Any]]], example: dict[str, Any]) -> Path:
    with row_writer(path, example) as writer:
        for part in parts:
            writer.write(part)
    return path


@settings(max_examples=30)
@given(st.lists(st.lists(WORDS, max_size=4), max_size=3))
@example([["one\rtwo", "three\r\nfour"]])
def test_whatever_the_text_all_formats_give_it_back(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[str]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "outputs"
    rows = [[{"id": "1", "text": text, "predictions": FOUND} for text in part] for part in parts]
    texts = [text for part in parts for text in part]
    lines = written(folder / "a.jsonl", rows, EXAMPLE).read_bytes().decode().split("\n")[:-1]
    assert [json.loads(line)["text"] for line in lines] == texts
    with written(folder / "a.csv", rows, EXAMPLE).open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [row["text"] for row in read] == texts
    assert all(row["s.interval.1"] == "2.0" and row["a.label"] == "x" for row in read)
    table = parquet.read_table(written(folder / "a.parquet", rows, EXAMPLE))
    assert table["text"].to_pylist() == texts
    assert table["s.interval"].to_pylist() == [[1.0, 2.0]] * len(texts)


def test_rows_without_a_sentence_are_blank(tmp_path: Path) -> None:
    row = {"id": Verbatim("5"), "text": "", "predictions": None}
    path = written(tmp_path / "a.jsonl", [[row]], EXAMPLE)
    assert json.loads(path.read_text()) == {"id": 5, "text": "", "predictions": None}
    path = written(tmp_path / "a.csv", [[row]], EXAMPLE)
    assert path.read_text().splitlines()[1] == "5,,,,,,"
    table = parquet.read_table(written(tmp_path / "a.parquet", [[row]], EXAMPLE))
    assert table["a.probabilities.x"].to_pylist() == [None]


@pytest.mark.parametrize("rows", [0, 1, 999, 100_001])
def test_an_array_is_one_that_numpy_reads(rows: int, tmp_path: Path) -> None:
    vectors = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    part = [{"text": "", "embedding": vector.tolist()} for vector in vectors]
    path = written(tmp_path / "a.npy", [part], {"text": "", "embedding": [0.0, 0.0]})
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), vectors)
    with row_writer(path, {"embedding": [0.0, 0.0]}) as writer:
        writer.write([{"embedding": None}, {"embedding": [1.0, 2.0]}])
    np.testing.assert_array_equal(np.load(path), [[np.nan, np.nan], [1.0, 2.0]])


def test_nothing_is_left_of_a_failed_write_and_other_names_are_refused(tmp_path: Path) -> None:
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        with pytest.raises(ZeroDivisionError), row_writer(tmp_path / name, EXAMPLE):
            _ = 1 / 0
    assert not list(tmp_path.iterdir())
    with (
        pytest.raises(ConfigError, match=r"\.jsonl, \.csv, \.parquet, \.npy"),
        row_writer(tmp_path / "a.xlsx", EXAMPLE),
    ):
        pass


def test_names_have_dots() -> None:
    assert flattened({"id": 1, "predictions": FOUND}) == {
        "id": 1,
        "a.label": "x",
        "a.probabilities.x": 0.75,
        "a.probabilities.y": 0.25,
        "s.interval.0": 1.0,
        "s.interval.1": 2.0,
    }
    assert flattened({"predictions": None}) == {"": None}


@pytest.mark.parametrize("known", [[], ["a"]], ids=str)
def test_lists_of_words_may_have_any_length_and_whole_numbers_stay_whole(
    known: list[str], tmp_path: Path
) -> None:
    def row(labels: list[str], level: int) -> dict[str, Any]:
        return {"predictions": {"tags": {"labels": labels}, "stars": {"level": level}}}

    rows, example = [row(["a", 'b"c'], 3), row([], 1)], row(known, 2)
    with written(tmp_path / "a.csv", [rows], example).open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [json.loads(each["tags.labels"]) for each in cells] == [["a", 'b"c'], []]
    table = parquet.read_table(written(tmp_path / "a.parquet", [rows], example))
    assert table["tags.labels"].to_pylist() == [["a", 'b"c'], []]
    assert table["stars.level"].to_pylist() == [3, 1]


def test_json_lines_pass_numbers_on_as_they_were_written(tmp_path: Path) -> None:
    cells = ["0.12345678901234567890", "1.10", "1e400", "9" * 5000, "[1.50, 2]"]
    row = {f"c{place}": Verbatim(cell) for place, cell in enumerate(cells)} | {"text": 'a "b"'}
    line = written(tmp_path / "a.jsonl", [[row]], row).read_text()
    pairs = ", ".join(f'"c{place}": {cell}' for place, cell in enumerate(cells))
    assert line == f'{{{pairs}, "text": "a \\"b\\""}}\n'
