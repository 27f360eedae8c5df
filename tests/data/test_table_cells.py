"""Values are the same cells in every format that has them, and what is no cell is refused."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from lit_mtl.data.tables import open_table
from lit_mtl.errors import DataError
from tests.data.table_rows import read
from tests.data.test_readers import write


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"text": "a", "score": {"a": 1}}',
            r"a\.jsonl:1: .*list under 'score'; found \{",
        ),
        ("a.jsonl", '{"text": "a\\ud800", "score": 1}', r"a\.jsonl:1: .*character '\\ud800'"),
        ("a.jsonl", '{"text": "a\\u0000", "score": 1}', r"a\.jsonl:1: .*character '\\x00'"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))


def test_lists_are_read_as_json_and_other_types_are_refused_only_where_they_are_read(
    tmp_path: Path,
) -> None:
    columns: dict[str, Any] = {
        "text": ["a"],
        "score": [1],
        "tags": [["x", 'y "z"']],
        "pair": [{"a": 1}],
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [("a", "1")]
    assert read(tmp_path / "a.parquet", "tags") == [("a", '["x", "y \\"z\\""]')]
    path = write(tmp_path / "a.jsonl", '{"text": "a", "score": [1.50, null, "b"]}')
    assert read(path) == [("a", '[1.50, null, "b"]')]
    with pytest.raises(DataError, match=r"a\.parquet:1: .*under 'pair'; found \{'a': 1\}"):
        read(tmp_path / "a.parquet", "pair")


def test_a_number_that_is_none_is_missing(tmp_path: Path) -> None:
    """Pandas writes it so, in Parquet as in JSON."""
    parquet.write_table(
        pa.table({"text": ["a", "b", "c"], "x": [float("nan"), 2.0, float("inf")]}),
        tmp_path / "a.parquet",
    )
    write(tmp_path / "a.jsonl", '{"text": "a", "x": NaN}\n{"text": "b", "x": 2.0}\n')
    for name, found in (("a.parquet", [None, "2.0", "Infinity"]), ("a.jsonl", [None, "2.0"])):
        assert [record.cells[0] for record in open_table(tmp_path / name).read(["x"])] == found


def test_dates_and_times_are_text_as_a_csv_has_them(tmp_path: Path) -> None:
    nanoseconds = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC"))
    columns = {"text": ["a"], "day": [date(2024, 1, 2)], "at": nanoseconds}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    (record,) = open_table(tmp_path / "a.parquet").read(["day", "at"])
    assert record.cells == ["2024-01-02", "2023-11-14T22:13:20.123456789+00:00"]
