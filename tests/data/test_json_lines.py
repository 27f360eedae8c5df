"""Objects may lack keys, numbers stay as they were written, and what is no object is refused."""

from pathlib import Path

import pytest

from lit_mtl.data.tables import open_table
from lit_mtl.errors import DataError
from tests.data.table_rows import read
from tests.data.test_readers import write


def test_json_lines_may_lack_keys_and_keep_numbers_as_written(tmp_path: Path) -> None:
    lines = [
        '{"text": "one", "score": 1.50, "other": {"not": ["read"]}}',
        "",
        '{"sentence": "two", "text": "null", "label": true}',
        '{"text": null, "score": 1}',
        '{"text": "NA", "score": "2"}',
    ]
    path = write(tmp_path / "a.jsonl", "\r\n".join(lines))
    assert read(path) == [("one", "1.50"), ("null", None), ("NA", "2")]
    assert read(path, "label") == [("one", None), ("null", "true"), ("NA", None)]
    assert [record.number for record in open_table(path).read(["text"])] == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "\n", r"a\.jsonl:1: .*empty file"),
        ("a.jsonl", '[{"text": "a"}]', r"a\.jsonl:1: expected one JSON object a line; found \["),
        ("a.jsonl", '{"text": "a", "score": 1}\n{"text": "b", "sc', r"a\.jsonl:2: .*column 15"),
        ("a.jsonl", '{"text": "a", "score": 1, "score": 2}', r"a\.jsonl:1: .*twice: score"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: expected a flat JSON object"),
        (
            "a.jsonl",
            '{"text": "a", "score": ' + "[" * 700 + "]" * 700 + "}",
            r"a\.jsonl:1: expected a flat JSON object",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))
