"""Columns are found by name, and the cell of a sentence has to be text."""

from pathlib import Path

import pytest

from lit_mtl.data.tables import open_table
from lit_mtl.errors import DataError
from tests.data.table_rows import read
from tests.data.test_readers import write


def test_columns_are_found_by_name_and_blank_targets_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "id\tscore\ttext\n1\t2.5\tgood\n2\t\tblank\n")
    assert read(path, "sentiment", "score") == [("good", "2.5"), ("blank", None)]
    assert open_table(path).columns == ("id", "score", "text")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "body\tscore\n", r"a\.tsv:1: .*text or sentence; found the columns body, score"),
        (
            "a.jsonl",
            '{"text": 5, "score": 1}',
            r"a\.jsonl:1: expected a sentence under 'text'; .*5",
        ),
        ("a.jsonl", '{"text": ["a"], "score": 1}', r"a\.jsonl:1: .*sentence under 'text'; .*\["),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))
