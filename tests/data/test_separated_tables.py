"""What separates the cells of a line, what quotes mean, and what a header may look like."""

import csv
from pathlib import Path

import pytest
from hypothesis import given

from lit_mtl.data.tables import open_table
from lit_mtl.errors import DataError
from tests.data.table_rows import read
from tests.data.test_readers import SENTENCES, write


def test_a_quote_in_a_tsv_is_a_character(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tscore\n"unbalanced\t1\nnext\t2\n')
    assert read(path) == [('"unbalanced', "1"), ("next", "2")]


def test_a_csv_may_quote_commas_and_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,score\n"a, ""b""\nc",1\nd,2\n')
    assert read(path) == [('a, "b"\nc', "1"), ("d", "2")]
    assert [record.where for record in open_table(path).read(["text"])][1] == f"{path}:4"


@pytest.mark.parametrize(
    ("content", "columns", "cells"),
    [
        ("text;score\nso, so;1\n", ("text", "score"), ["so, so", "1"]),
        ('"text";"score"\n"a; ""b""";"1,5"\n', ("text", "score"), ['a; "b"', "1,5"]),
        ('"te,xt";"score"\na;1\n', ("te,xt", "score"), ["a", "1"]),
        ("text,a;b\nx;y,z\n", ("text", "a;b"), ["x;y", "z"]),
        ("a;b,c;d\n1;2,3;4\n", ("a;b", "c;d"), ["1;2", "3;4"]),
        ('"text;score"\na;1\n', ("text;score",), ["a;1"]),
        ("text\na;1\n", ("text",), ["a;1"]),
    ],
)
def test_semicolons_separate_a_csv_only_where_commas_make_no_columns(
    tmp_path: Path, content: str, columns: tuple[str, ...], cells: list[str]
) -> None:
    table = open_table(write(tmp_path / "a.csv", content))
    assert table.columns == columns
    assert [list(record.cells) for record in table.read(columns)] == [cells]


@given(texts=SENTENCES)
def test_a_csv_with_semicolons_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    rows = [(text, str(number / 2)) for number, text in enumerate(texts)]
    path = tmp_path_factory.mktemp("semicolons") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([("text", "score"), *rows])
    assert read(path) == rows


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", ",text,score,,\n7,good,1,,x\n"),
        ("a.csv", ";text;score; ;\n7;good;1;;x\n"),
        ("a.tsv", "\ttext\tscore\t\t \n7\tgood\t1\t\tx\n"),
    ],
)
def test_columns_without_a_name_have_that_of_their_place(
    tmp_path: Path, name: str, content: str
) -> None:
    table = open_table(write(tmp_path / name, content))
    assert table.columns == ("column 1", "text", "score", "column 4", "column 5")
    (record,) = table.read(table.columns)
    assert list(record.cells) == ["7", "good", "1", "", "x"]


def test_a_cell_may_be_longer_than_pythons_own_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"text,score\n{'x' * 200_000},1\n")
    assert len(read(path)[0][0]) == 200_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", r"a\.tsv:1: .*header"),
        ("a.tsv", "text\tscore\nok\t1\nbad\n", r"a\.tsv:3: expected 2 cells.*found 1"),
        ("a.csv", 'text,score\n"open,1\n', r"a\.csv:2: not a well-formed CSV"),
        ("a.csv", "text;score\na;b;1\n", r"a\.csv:2: expected 2 cells \(text, score\); found 3"),
        ("a.csv", "sep=;\ntext;score\na;1\n", r"a\.csv:1: .*found 'sep=', which only Excel"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))
