import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mtl.data import readers
from lit_mtl.data.readers import file_lines, files_below
from lit_mtl.errors import DataError, MissingInputError


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_file_may_mix_its_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\r\ntwo\rthree\n\r\rsix")
    expected = [(1, "one"), (2, "two"), (3, "three"), (4, ""), (5, ""), (6, "six")]
    assert list(file_lines(path)) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", [1, 2, 3, 5, 2**20])
def test_all_line_ends_give_the_same_lines_however_the_file_is_cut(
    tmp_path: Path, end: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_BLOCK", block)
    lines = ["one", "schön", "", "", "three"]
    for last in ("", end):
        path = write(tmp_path / "a.txt", end.join(lines) + last)
        assert list(file_lines(path)) == list(enumerate(lines, start=1))


def test_a_wrong_byte_is_named_in_whatever_block_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_BLOCK", 4)
    path = write(tmp_path / "a.txt", b"one\r\ntwo\rthree\nf\xffur\n")
    with pytest.raises(DataError, match=r"a\.txt:4: .*0xff at offset 16"):
        list(file_lines(path))


def test_a_file_without_line_ends_is_given_up_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_BLOCK", 10)
    monkeypatch.setattr(readers, "LONGEST_LINE", 100)
    assert list(file_lines(write(tmp_path / "a.txt", "x" * 90))) == [(1, "x" * 90)]
    with pytest.raises(DataError, match="found one of more than 100 bytes"):
        list(file_lines(write(tmp_path / "a.txt", "x" * 1000)))


def test_other_separators_stay_inside_a_sentence(tmp_path: Path) -> None:
    sentence = "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g"
    assert list(file_lines(write(tmp_path / "a.txt", sentence))) == [(1, sentence)]


def test_words_that_look_like_missing_values_stay_text(tmp_path: Path) -> None:
    words = ["null", "NA", "None", "nan"]
    path = write(tmp_path / "a.txt", "\n".join(words))
    assert [line for _, line in file_lines(path)] == words


def test_a_byte_order_mark_is_no_part_of_the_first_sentence(tmp_path: Path) -> None:
    assert list(file_lines(write(tmp_path / "a.txt", b"\xef\xbb\xbfgood"))) == [(1, "good")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gut\nschön\n".encode("latin-1"), r"a\.txt:2: .*0xf6 at offset 7"),
        ("good\n".encode("utf-16"), r"a\.txt:1: .*UTF-16"),
        (b"one\ntwo\0\n", r"a\.txt:2: .*NUL"),
        ("good\n".encode("utf-16-le"), r"a\.txt:1: .*NUL"),
        (b"ok\n\xed\xa0\x80\n", r"a\.txt:2: .*0xed at offset 3"),
        (b"\x1f\x8b\x08\0", r"a\.txt: .*gzip file\. Unpack it"),
        (b"PK\x03\x04\0", r"a\.txt: .*zip file\. Unpack it"),
        (b"PAR1\0", r"a\.txt: .*Parquet file\. Let its name end in \.parquet"),
    ],
)
def test_what_is_not_utf8_text_is_named_with_its_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        list(file_lines(write(tmp_path / "a.txt", content)))


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "device", "loop"])
def test_what_is_no_file_is_said_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.txt"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    found = "symbolic links" if kind == "loop" else kind
    with pytest.raises(MissingInputError, match=rf"a\.txt: expected a file, found .*{found}"):
        list(file_lines(path))


def test_files_below_a_folder_are_found_through_links_once_and_without_hidden_ones(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    for name in ("b.txt", "inner/a.txt", ".hidden/x", "inner/.hidden"):
        write(folder / name, "x")
    write(tmp_path / "elsewhere" / "c.txt", "x")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "inner" / "back").symlink_to(folder)
    (folder / "broken.txt").symlink_to(tmp_path / "nowhere")
    found = [str(path.relative_to(folder)) for path in files_below(folder)]
    assert found == ["b.txt", "inner/a.txt", "linked/c.txt"]
    assert list(files_below(folder / "b.txt")) == [folder / "b.txt"]
    assert list(files_below(folder / "broken.txt")) == [folder / "broken.txt"]
    assert list(files_below(tmp_path / "nowhere")) == []


def test_a_line_of_ten_megabytes_is_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "long " * 2_000_000 + "\nshort\n")
    assert [len(line) for _, line in file_lines(path)] == [10_000_000, 5]


SENTENCES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\t"), min_size=1)
    .map(str.strip)
    .filter(lambda text: bool(text) and not text.startswith("\ufeff")),
    min_size=1,
    max_size=20,
)
"""What may stand on the lines of a text file."""


@given(SENTENCES)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    lines = write(tmp_path_factory.mktemp("round_trip") / "a.txt", "\n".join(texts))
    assert [line for _, line in file_lines(lines)] == texts


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A file's content with some bytes changed, cut out, doubled or put in."""
    for _ in range(draw.randint(1, 4)):
        place, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
        kind = draw.randrange(4)
        if kind == 0:
            content = content[:place] + draw.randbytes(draw.randint(1, 4)) + content[place + 1 :]
        elif kind == 1:
            content = content[:place] + content[min(end, place + 20) :]
        elif kind == 2:
            content = content[:end] + content[place:end] + content[end:]
        else:
            special = [b"\0", b'"', b"\t", b",", b"\r", b"\xff", b"\xe2\x80\xa8", b"{", b"\\ud800"]
            content = content[:place] + draw.choice(special) + content[place:]
    return content


def test_five_thousand_damaged_texts_are_read_or_refused_as_data(tmp_path: Path) -> None:
    draw = random.Random(0)
    read = 0
    for _ in range(5000):
        path = write(tmp_path / "a.txt", damaged("gut\nschön\r\n\nein Satz\n".encode(), draw))
        with suppress(DataError):
            assert all("\n" not in line for _, line in file_lines(path))
            read += 1
    assert 1000 < read < 4900


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_wrong_byte_is_counted_from_the_file_s_begin_with_a_mark_too(
    tmp_path: Path, mark: bytes
) -> None:
    path = write(tmp_path / "a.txt", mark + b"ab\n\xffcd\n")
    with pytest.raises(DataError, match=rf"a\.txt:2: .*0xff at offset {len(mark) + 3}"):
        list(file_lines(path))
