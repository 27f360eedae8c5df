"""Reads text files and folders of them: bytes to text, text to sentences. Knows no models.

A line ends at LF, CR LF or CR and nowhere else: Python's `str.splitlines` would also cut at form
feeds, U+2028 and others, which are part of a sentence.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from lit_mtl.errors import DataError, MissingInputError

_LABEL_ALIASES = {
    alias: label for label in ("positive", "negative") for alias in (label, f"{label}s", label[:3])
}


@dataclass(frozen=True, slots=True)
class Row:
    """One sentence as it stands in a file.

    Args:
        text: the sentence without white space around it; empty where the row is blank.
        target: its target as written; None where the cell is blank.
        where: `file:line` for messages.
    """

    text: str
    target: str | None
    where: str


def label_files(folder: Path) -> dict[str, list[Path]]:
    """The `<label>.txt` files of a folder by label, sorted.

    `pos`, `positives`, `neg` and `negatives` are understood, in any case. Hidden files are not
    looked at: some systems keep a hidden twin of every file.
    """
    found: dict[str, list[Path]] = {}
    for path in visible_files(folder, [".txt"]):
        label = _LABEL_ALIASES.get(path.stem.lower(), path.stem)
        found.setdefault(label, []).append(path)
    return found


def visible_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files of a folder by the end of their name in any case, sorted; no hidden ones."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def read_label_folder(folder: Path) -> Iterator[Row]:
    """Rows of a folder with one `<label>.txt` a class, one sentence a line.

    Raises:
        MissingInputError: if there is no folder or no such file in it.
        DataError: if there are fewer than two classes, or one without a sentence.
    """
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: expected a folder with one <label>.txt a class")
    files = label_files(folder)
    if len(files) < 2:
        found = ", ".join(str(path.name) for paths in files.values() for path in paths) or "none"
        raise DataError(
            f"{folder}: expected two or more <label>.txt files, such as positive.txt and "
            f"negative.txt; found {found}"
        )
    for label, paths in files.items():
        rows = [row for path in paths for row in read_lines(path, target=label)]
        if not any(row.text for row in rows):
            raise DataError(f"{paths[0]}: expected one sentence a line; found an empty file")
        yield from rows


def read_lines(path: Path, *, target: str | None = None) -> Iterator[Row]:
    """Rows of a text file with one sentence a line."""
    return split_lines(read_text(path), path, target=target)


def split_lines(text: str, path: Path | str, *, target: str | None = None) -> Iterator[Row]:
    """Rows of a text with one sentence a line; `path` says where it came from."""
    for number, line in enumerate(lines_of(text), start=1):
        yield Row(line.strip(), target, f"{path}:{number}")


def read_text(path: Path) -> str:
    """A whole file as text.

    Raises:
        MissingInputError: if it is not a file.
        DataError: if it is not UTF-8 text.
    """
    refuse_missing(path)
    return decode(path.read_bytes(), path)


def refuse_missing(path: Path) -> None:
    """Only a regular file is read: a pipe or a device might never end.

    Raises:
        MissingInputError: if there is none that can be read, saying what is there.
    """
    try:
        kind = path.stat().st_mode
    except OSError as error:
        found = "nothing" if isinstance(error, FileNotFoundError) else error.strerror
        raise MissingInputError(f"{path}: expected a file, found {found}") from error
    if not stat.S_ISREG(kind):
        found = "a folder" if stat.S_ISDIR(kind) else "a pipe or device"
        raise MissingInputError(f"{path}: expected a file, found {found}")
    if not os.access(path, os.R_OK):
        raise MissingInputError(f"{path}: expected a file, found one that may not be read")


def refuse_unreadable(text: str, where: str) -> None:
    """Refuse what no UTF-8 file holds and tokenizers cannot read, but JSON can spell.

    Raises:
        DataError: for a NUL character or half of a surrogate pair.
    """
    if found := _UNREADABLE.search(text):
        raise DataError(f"{where}: expected text; found the character {found.group()!r}")


def decode(content: bytes, path: Path | str) -> str:
    """Bytes as text.

    Args:
        content: what was read.
        path: where it came from, for messages.

    Raises:
        DataError: if it is not UTF-8 text; the message has the line and the byte offset.
    """
    for magic, kind in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise DataError(f"{path}: expected text; found a {kind}")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}:1: expected UTF-8; found UTF-16. Save the file as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(_LINE_END.findall(content[: error.start].decode("latin-1"))) + 1
        raise DataError(
            f"{path}:{line}: expected UTF-8; found the byte 0x{content[error.start]:02x} at "
            f"offset {error.start}. Save the file as UTF-8"
        ) from error
    if "\0" in text:
        line = len(_LINE_END.findall(text[: text.index("\0")])) + 1
        raise DataError(f"{path}:{line}: expected text; found a NUL character")
    return text


_LINE_END = re.compile(r"\r\n|\r|\n")
_UNREADABLE = re.compile("[\0\ud800-\udfff]")
_OTHER_FORMATS = {
    b"\x1f\x8b": "gzip file. Unpack it",
    b"PK\x03\x04": "zip file. Unpack it",
    b"PAR1": "Parquet file. Let its name end in .parquet",
}


def lines_of(text: str) -> list[str]:
    """The lines of a text, without their ends; nothing stands behind the last end."""
    lines = _LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]
