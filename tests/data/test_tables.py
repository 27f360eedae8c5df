"""Every format gives the same rows, and every wrong table a message with its place."""

import csv
import json
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from hypothesis import given
from pyarrow import parquet

from lit_mtl.data.tables import (
    FORMATS,
    files_of,
    is_table,
    open_table,
    saved_datasets,
    sentence,
    tables,
)
from lit_mtl.errors import DataError, MissingInputError
from lit_mtl.tasks import Multilabel
from tests.data.corpora import build, targets
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


def read(path: Path, *columns: str) -> list[tuple[str, str | None]]:
    """Sentences and targets as the corpus reads them."""
    table = open_table(path)
    text, target = table.text_column(), table.column(columns or ("score",))
    if target is None:
        raise DataError(f"{path}: no such column")
    rows = [(sentence(record, text), record.cells[1]) for record in table.read([text, target])]
    return [(row, (cell or "").strip() or None) for row, cell in rows if row]


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


def test_columns_are_found_by_name_and_blank_targets_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "id\tscore\ttext\n1\t2.5\tgood\n2\t\tblank\n")
    assert read(path, "sentiment", "score") == [("good", "2.5"), ("blank", None)]
    assert open_table(path).columns == ("id", "score", "text")


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


def test_a_saved_dataset_is_a_table_with_its_class_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    dataset = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features)
    dataset.save_to_disk(str(tmp_path / "saved"))
    assert is_table(tmp_path / "saved")
    assert tables(tmp_path / "saved") == [tmp_path / "saved"]
    assert read(tmp_path / "saved", "label") == [("a", "good"), ("b", "bad"), ("c", None)]
    datasets.DatasetDict({"train": dataset}).save_to_disk(str(tmp_path / "several"))
    assert list(saved_datasets(tmp_path / "several")) == ["train"]
    assert list(saved_datasets(tmp_path / "saved")) == [""]
    assert saved_datasets(tmp_path) == {}
    (tmp_path / "saved" / "dataset_info.json").unlink()
    with pytest.raises(DataError, match="expected a whole saved dataset"):
        open_table(tmp_path / "saved")


def test_lists_of_class_numbers_in_a_saved_dataset_are_lists_of_their_names(
    tmp_path: Path,
) -> None:
    classes = datasets.ClassLabel(names=["plot", "actors", "music"])
    text = {"text": ["both", "one", "none", "unknown"]}
    tags = [[0, 1], [2], [], None]
    path = tmp_path / "saved"
    for lists in (datasets.List(classes), datasets.LargeList(classes), datasets.List(classes, 2)):
        fixed = getattr(lists, "length", -1) == 2
        values = [tags[0] if fixed and tag is not None else tag for tag in tags]
        features = datasets.Features({"text": datasets.Value("string"), "tags": lists})
        dataset = datasets.Dataset.from_dict({**text, "tags": values}, features)
        dataset.save_to_disk(str(path))
        names = {0: "plot", 1: "actors", 2: "music"}
        expected = [
            None if value is None else json.dumps([names[number] for number in value])
            for value in values
        ]
        assert [cell for _, cell in read(path, "tags")] == expected
        shutil.rmtree(path)

    built = build(write_tagged(path, [[0, 1], [2], [], None]), tasks={"tags": Multilabel()})
    task = built.tasks["tags"]
    assert {text: task.describe(tuple(row["tags"])) for text, row in targets(built).items()} == {
        "text 0": "actors|plot",
        "text 1": "music",
        "text 2": task.describe((0.0, 0.0, 0.0)),
    }
    assert built.readings["tags"].dropped["without a target"].examples == [f"{path}:4"]
    with pytest.raises(DataError, match=r"saved:2: .*in which one is null"):
        build(write_tagged(path, [[0], [1, -1]]), tasks={"tags": Multilabel()})


def write_tagged(path: Path, tags: Sequence[Sequence[int] | None]) -> Path:
    """Save a dataset whose column `tags` has lists of class numbers."""
    shutil.rmtree(path, ignore_errors=True)
    classes = datasets.ClassLabel(names=["plot", "actors", "music"])
    features = datasets.Features({"text": datasets.Value("string"), "tags": datasets.List(classes)})
    texts = [f"text {number}" for number in range(len(tags))]
    dataset = datasets.Dataset.from_dict({"text": texts, "tags": list(tags)}, features)
    dataset.save_to_disk(str(path))
    return path


def test_a_class_number_without_a_name_is_refused_with_its_row(tmp_path: Path) -> None:
    path = write_tagged(tmp_path / "saved", [[0, 2], [1]])
    facts = path / "dataset_info.json"
    facts.write_text(facts.read_text().replace('"music"', "").replace('"actors",', '"actors"'))
    with pytest.raises(
        DataError, match=r"saved:1: expected the number of one of 2 classes; found 2"
    ):
        read(path, "tags")


WRONG: list[tuple[str, str, str]] = [
    ("a.tsv", "", r"a\.tsv:1: .*header"),
    ("a.tsv", "body\tscore\n", r"a\.tsv:1: .*text or sentence; found the columns body, score"),
    ("a.tsv", "text\ttext\tscore\n", r"a\.tsv:1: .*twice: text"),
    ("a.tsv", "text\tscore\nok\t1\nbad\n", r"a\.tsv:3: expected 2 cells.*found 1"),
    ("a.csv", 'text,score\n"open,1\n', r"a\.csv:2: not a well-formed CSV"),
    ("a.csv", "text;score\na;b;1\n", r"a\.csv:2: expected 2 cells \(text, score\); found 3"),
    ("a.csv", "sep=;\ntext;score\na;1\n", r"a\.csv:1: .*found 'sep=', which only Excel"),
    ("a.json", "[]", r"a\.json: .*\.jsonl.*read line by line"),
    ("a.xlsx", "", r"a\.xlsx: expected a table ending in \.tsv, \.csv"),
    ("a.jsonl", "\n", r"a\.jsonl:1: .*empty file"),
    ("a.jsonl", '[{"text": "a"}]', r"a\.jsonl:1: expected one JSON object a line; found \["),
    ("a.jsonl", '{"text": "a", "score": 1}\n{"text": "b", "sc', r"a\.jsonl:2: .*column 15"),
    ("a.jsonl", '{"text": "a", "score": 1, "score": 2}', r"a\.jsonl:1: .*twice: score"),
    ("a.jsonl", '{"text": 5, "score": 1}', r"a\.jsonl:1: expected a sentence under 'text'; .*5"),
    ("a.jsonl", '{"text": "a", "score": {"a": 1}}', r"a\.jsonl:1: .*list under 'score'; found \{"),
    ("a.jsonl", '{"text": ["a"], "score": 1}', r"a\.jsonl:1: .*sentence under 'text'; .*\["),
    ("a.jsonl", '{"text": "a\\ud800", "score": 1}', r"a\.jsonl:1: .*character '\\ud800'"),
    ("a.jsonl", '{"text": "a\\u0000", "score": 1}', r"a\.jsonl:1: .*character '\\x00'"),
    ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: expected a flat JSON object"),
    ("a.parquet", "text,score\n", r"a\.parquet: expected a whole Parquet file"),
    ("a.csv", "PAR1", r"a\.csv: expected text; found a Parquet file"),
]


@pytest.mark.parametrize(("name", "content", "message"), WRONG)
def test_a_wrong_table_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_that_is_not_there_is_missing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(MissingInputError, match="found nothing"):
        open_table(tmp_path / f"a{suffix}")


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


def test_one_column_may_be_asked_for_twice(tmp_path: Path) -> None:
    """As by two tasks that learn from it in two ways."""
    datasets.Dataset.from_dict({"text": ["a"], "stars": [3]}).save_to_disk(str(tmp_path / "saved"))
    parquet.write_table(pa.table({"text": ["a"], "stars": [3]}), tmp_path / "a.parquet")
    for name in ("saved", "a.parquet"):
        (record,) = open_table(tmp_path / name).read(["text", "stars", "stars"])
        assert list(record.cells) == ["a", "3", "3"]


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
