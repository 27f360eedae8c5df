import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mtl.data.readers import (
    label_files,
    read_label_folder,
    read_lines,
    read_table,
    read_text,
    table_columns,
)
from lit_mtl.errors import DataError, MissingInputError


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_folder_gives_every_sentence_its_label_and_line(tmp_path: Path) -> None:
    write(tmp_path / "positive.txt", "good\n\n fine \n")
    write(tmp_path / "negative.txt", "bad\n")
    rows = list(read_label_folder(tmp_path))
    assert [(row.text, row.target) for row in rows] == [
        ("bad", "negative"),
        ("good", "positive"),
        ("fine", "positive"),
    ]
    assert rows[2].where == f"{tmp_path / 'positive.txt'}:3"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("pos", "positive"),
        ("NEG", "negative"),
        ("negatives", "negative"),
        ("Positive", "positive"),
        ("Neutral", "Neutral"),
    ],
)
def test_usual_file_names_are_understood(tmp_path: Path, name: str, label: str) -> None:
    write(tmp_path / f"{name}.TXT", "x\n")
    write(tmp_path / f"._{name}.txt", "hidden twin\n")
    assert list(label_files(tmp_path)) == [label]


def test_a_folder_without_two_filled_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nowhere"):
        list(read_label_folder(tmp_path / "nowhere"))
    write(tmp_path / "positive.txt", "good\n")
    with pytest.raises(DataError, match=r"two or more <label>\.txt.*found positive\.txt"):
        list(read_label_folder(tmp_path))
    write(tmp_path / "negative.txt", "\n \n")
    with pytest.raises(DataError, match=r"negative\.txt.*empty"):
        list(read_label_folder(tmp_path))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_line_ends_give_the_same_rows(tmp_path: Path, end: str) -> None:
    path = write(tmp_path / "a.txt", end.join(["one", "two", "", "three"]))
    assert [(row.text, row.where.rpartition(":")[2]) for row in read_lines(path)] == [
        ("one", "1"),
        ("two", "2"),
        ("three", "4"),
    ]


def test_other_separators_stay_inside_a_sentence(tmp_path: Path) -> None:
    sentence = "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g"
    assert [row.text for row in read_lines(write(tmp_path / "a.txt", sentence))] == [sentence]


def test_words_that_look_like_missing_values_stay_text(tmp_path: Path) -> None:
    words = ["null", "NA", "None", "nan"]
    path = write(tmp_path / "a.txt", "\n".join(words))
    assert [row.text for row in read_lines(path)] == words


def test_a_byte_order_mark_is_no_part_of_the_first_sentence(tmp_path: Path) -> None:
    assert read_text(write(tmp_path / "a.txt", b"\xef\xbb\xbfgood")) == "good"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gut\nschön\n".encode("latin-1"), r"a\.txt:2: .*0xf6 at offset 7"),
        ("good\n".encode("utf-16"), r"a\.txt:1: .*UTF-16"),
        (b"one\ntwo\0\n", r"a\.txt:2: .*NUL"),
    ],
)
def test_what_is_not_utf8_text_is_named_with_its_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_text(write(tmp_path / "a.txt", content))


def test_a_table_gives_text_and_target(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "id\tscore\ttext\n1\t2.5\tgood\n2\t\tblank\n")
    rows = list(read_table(path, target_columns=("sentiment", "score")))
    assert [(row.text, row.target) for row in rows] == [("good", "2.5"), ("blank", None)]
    assert table_columns(path) == ["id", "score", "text"]


def test_a_quote_in_a_tsv_is_a_character(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tscore\n"unbalanced\t1\nnext\t2\n')
    assert [row.text for row in read_table(path, target_columns=("score",))] == [
        '"unbalanced',
        "next",
    ]


def test_a_csv_may_quote_commas_and_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,score\n"a, ""b""\nc",1\nd,2\n')
    rows = list(read_table(path, target_columns=("score",)))
    assert [(row.text, row.target) for row in rows] == [('a, "b"\nc', "1"), ("d", "2")]
    assert rows[1].where == f"{path}:4"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", r"a\.tsv:1: .*header"),
        ("a.tsv", "body\tscore\n", r"a\.tsv:1: .*text or sentence; found the columns body, score"),
        ("a.tsv", "text\tvalue\n", r"a\.tsv:1: .*named score; found the columns text, value"),
        ("a.tsv", "text\ttext\tscore\n", r"a\.tsv:1: .*twice"),
        ("a.tsv", "text\tscore\nok\t1\nbad\n", r"a\.tsv:3: expected 2 cells.*found 1"),
        ("a.csv", 'text,score\n"open,1\n', r"a\.csv:2: not a well-formed CSV"),
        ("a.json", "[]", r"a\.json: .*\.tsv or \.csv"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        list(read_table(write(tmp_path / name, content), target_columns=("score",)))


SENTENCES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\t"), min_size=1)
    .map(str.strip)
    .filter(lambda text: bool(text) and not text.startswith("\ufeff")),
    min_size=1,
    max_size=20,
)


@given(SENTENCES)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("round_trip")
    lines = write(folder / "a.txt", "\n".join(texts))
    assert [row.text for row in read_lines(lines)] == texts
    rows = "".join(f"{text}\t{index}\n" for index, text in enumerate(texts))
    table = write(folder / "a.tsv", f"text\tscore\n{rows}")
    read = list(read_table(table, target_columns=("score",)))
    assert [(row.text, row.target) for row in read] == [
        (text, str(index)) for index, text in enumerate(texts)
    ]


@given(st.binary(max_size=200), st.sampled_from(["a.txt", "a.tsv", "a.csv"]))
def test_any_bytes_are_read_or_refused_as_data(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    prefix = b"text\tscore\n" if random.Random(len(content)).random() < 0.5 else b"text,score\n"
    path = write(tmp_path_factory.mktemp("fuzz") / name, prefix + content)
    with suppress(DataError):
        rows = list(
            read_lines(path) if name == "a.txt" else read_table(path, target_columns=("score",))
        )
        assert all(row.text.strip() for row in rows)
