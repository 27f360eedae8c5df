"""Scored pairs are read from any table; what is wrong is said with its place."""

import json
from pathlib import Path

import pytest

from lit_mtl.data.scored_pairs import read_scored_pairs
from lit_mtl.errors import DataError, MissingInputError
from tests.data.test_readers import write

ROWS = [("A cat.", "A dog.", 2.5), ("Rain.", "It rains.", 5.0), ("One.", "Blue.", 0.0)]


def test_the_formats_give_the_same_pairs(tmp_path: Path) -> None:
    lines = ["sentence1\tsentence2\tscore", *(f"{one}\t{two}\t{score}" for one, two, score in ROWS)]
    as_tsv = read_scored_pairs(write(tmp_path / "pairs.tsv", "\n".join(lines)))
    names = ("score", "sentence2", "genre", "sentence1")  # the order of columns does not count
    rows = [dict(zip(names, (score, two, "x", one), strict=True)) for one, two, score in ROWS]
    content = "\n".join(map(json.dumps, rows))
    as_json = read_scored_pairs(write(tmp_path / "pairs.jsonl", content))
    assert as_tsv == as_json
    assert list(zip(as_tsv.first, as_tsv.second, as_tsv.scores, strict=True)) == ROWS


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("sentence1,text,score", ["a,b,1"] * 3, ":1: expected the columns sentence1, sentence2"),
        ("sentence1,sentence2,score", ["a,b,1", "a,,2", "c,d,3"], ":3: expected a sentence under"),
        ("sentence1,sentence2,score", ["a,b,1", "a,b,much"], ":3: score: expected a number"),
        ("sentence1,sentence2,score", ["a,b,1", "a,b,"], ":3: score: expected a number"),
        ("sentence1,sentence2,score", ["a,b,1", "a,b,2"], "at least 3 pairs"),
        ("sentence1,sentence2,score", ["a,b,1", "a,b,1", "c,d,1"], "1 different scores"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    header: str, rows: list[str], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "pairs.csv", "\n".join([header, *rows]))
    with pytest.raises(DataError) as error:
        read_scored_pairs(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_scored_pairs(tmp_path / "pairs.csv")
