"""Every type of Arrow is read as text, passed on as it is, or refused with its row."""

import json
from datetime import date
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from lit_mtl.data.table import sentence
from lit_mtl.data.tables import open_table
from lit_mtl.errors import DataError
from tests.data.table_rows import read
from tests.data.test_readers import write


def test_parquet_reads_every_plain_type(tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["a", "b", None]).dictionary_encode(),
        "whole": pa.array([1, None, 3], pa.int8()),
        "yes": pa.array([True, False, None]),
        "money": pa.array([None, "1.10", None]).cast(pa.decimal128(5, 2)),
    }
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table(columns), path)
    assert read(path, "whole") == [("a", "1"), ("b", None)]
    assert read(path, "yes") == [("a", "true"), ("b", "false")]
    assert read(path, "money") == [("a", None), ("b", "1.10")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a.parquet", "text,score\n", r"a\.parquet: expected a whole Parquet file")],
)
def test_a_wrong_table_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))


def test_one_column_may_be_asked_for_twice(tmp_path: Path) -> None:
    """As by two tasks that learn from it in two ways."""
    datasets.Dataset.from_dict({"text": ["a"], "stars": [3]}).save_to_disk(str(tmp_path / "saved"))
    parquet.write_table(pa.table({"text": ["a"], "stars": [3]}), tmp_path / "a.parquet")
    for name in ("saved", "a.parquet"):
        (record,) = open_table(tmp_path / name).read(["text", "stars", "stars"])
        assert list(record.cells) == ["a", "3", "3"]


OBJECTS = [{"a": 1, "b": ["é", None, {"c": True}]}, {"a": 2, "b": []}, None]


def test_what_no_task_reads_is_there_for_those_who_pass_it_on(tmp_path: Path) -> None:
    """Objects as JSON; what only Arrow can hold as its scalars, told beforehand."""
    shape = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "text": pa.array(["a", "b", "c"]),
        "pair": pa.array([{"a": 1, "b": [date(2024, 1, 2)]}, None, None]),
        "bytes": pa.array([b"\xff", None, b""]),
        "image": pa.array([{"bytes": b"x", "path": "y"}, None, None], shape),
        "time": pa.array([5, None, 7], pa.time64("ns")),
        "span": pa.array([5, None, 7], pa.duration("s")),
        "map": pa.array([[("k", b"v")], None, []], pa.map_(pa.string(), pa.binary())),
    }
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table(columns), path)
    table = open_table(path)
    only = ("bytes", "image", "time", "span", "map")
    assert table.arrow_only == {name: columns[name].type for name in only}
    rows = [dict(zip(table.columns, record.cells, strict=True)) for record in table.read_all()]
    assert [row["pair"] for row in rows] == ['{"a": 1, "b": ["2024-01-02"]}', None, None]
    for name in only:
        cells = [row[name] for row in rows]
        assert [cell is None for cell in cells] == [False, True, False] or name == "image"
        assert pa.array(cells, columns[name].type) == columns[name]
        with pytest.raises(DataError, match=rf"a\.parquet:1: expected text, .* under '{name}'"):
            list(table.read([name]))
    with pytest.raises(DataError, match=r":1: expected a sentence under 'bytes'; found binary"):
        sentence(next(open_table(path).read_all())._replace(cells=[rows[0]["bytes"]]), "bytes")

    lines = "".join(json.dumps({"text": "a", "o": each}) + "\n" for each in OBJECTS)
    table = open_table(write(tmp_path / "a.jsonl", lines))
    cells = [record.cells[1] for record in table.read_all()]
    assert [cell if cell is None else json.loads(cell) for cell in cells] == OBJECTS


def test_arrays_of_two_dimensions_are_lists(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "x": datasets.Array2D((2, 1), "int64")}
    )
    saved = datasets.Dataset.from_dict({"text": ["a"], "x": [[[1], [2]]]}, features)
    saved.save_to_disk(str(tmp_path / "saved"))
    (record,) = open_table(tmp_path / "saved").read_all()
    assert record.cells == ["a", "[[1], [2]]"]


def test_a_date_that_is_none_is_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    days = pa.array([2**30], pa.date32())
    parquet.write_table(pa.table({"text": ["a"], "score": [1.0], "day": days}), path)
    assert read(path) == [("a", "1.0")]
    with pytest.raises(DataError, match=r"a\.parquet: expected a whole Parquet file"):
        list(open_table(path).read(["day"]))
