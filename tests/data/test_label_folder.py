from pathlib import Path

import pytest

from lit_mtl.data.label_folder import label_files, open_label_folder
from lit_mtl.errors import DataError, MissingInputError
from tests.data.test_readers import write


def test_a_folder_gives_every_sentence_its_label_and_line(tmp_path: Path) -> None:
    write(tmp_path / "positive.txt", "good\n\n fine \n")
    write(tmp_path / "negative.txt", "bad\n")
    rows = list(open_label_folder(tmp_path).read(["text", "label"]))
    assert [row.cells for row in rows] == [
        ["bad", "negative"],
        ["good", "positive"],
        ["", "positive"],
        ["fine", "positive"],
    ]
    assert rows[3].where == f"{tmp_path / 'positive.txt'}:3"


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
        open_label_folder(tmp_path / "nowhere")
    write(tmp_path / "positive.txt", "good\n")
    with pytest.raises(DataError, match=r"two or more <label>\.txt.*found positive\.txt"):
        list(open_label_folder(tmp_path).read(["text"]))
    write(tmp_path / "negative.txt", "\n \n")
    with pytest.raises(DataError, match=r"negative\.txt.*empty"):
        list(open_label_folder(tmp_path).read(["text"]))


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "copy"])
def test_one_file_for_two_classes_is_refused_naming_both(tmp_path: Path, kind: str) -> None:
    bad = write(tmp_path / "negative.txt", "bad\nworse\n")
    write(tmp_path / "neutral.txt", "odd\nwords\n")
    good = tmp_path / "positive.txt"
    if kind == "symbolic link":
        good.symlink_to(bad)
    elif kind == "hard link":
        good.hardlink_to(bad)
    else:
        good.write_bytes(bad.read_bytes())
    message = rf"{good}: .*under positive than under negative; found the same content as in {bad}"
    with pytest.raises(DataError, match=message):
        open_label_folder(tmp_path)
    good.rename(tmp_path / "neg.txt")  # the same class twice is only a repetition
    assert len(list(open_label_folder(tmp_path).read(["text"]))) == 6
