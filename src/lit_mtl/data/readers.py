"""Reads text files in blocks: bytes to text, text to lines. Knows neither tables nor models.

A line ends at LF, CR LF or CR and nowhere else: Python's `str.splitlines` would also cut at form
feeds, U+2028 and others, which are part of a sentence. No file is ever held in memory as a whole.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from lit_mtl.errors import DataError, MissingInputError

LONGEST_LINE = 2**26
"""Bytes of the longest line, and characters of the longest cell: beyond, it is no file of sentences."""

_BLOCK = 2**20

_LINE_END = re.compile(r"\r\n|\r|\n")
_OTHER_FORMATS = {
    b"\x1f\x8b": "gzip file. Unpack it",
    b"PK\x03\x04": "zip file. Unpack it",
    b"PAR1": "Parquet file. Let its name end in .parquet",
}


def visible_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files of a folder by the end of their name in any case, sorted; no hidden ones.

    Some systems keep a hidden twin of every file.
    """
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def files_below(path: Path) -> Iterator[Path]:
    """A file itself, or all regular files of a folder and of those in it; no hidden ones.

    Links are followed, but into no folder twice, since one may lead back to where it stands.
    """
    if not path.is_dir():
        if os.path.lexists(path):
            yield path
        return
    seen: set[str] = set()
    for folder, inner, files in os.walk(path, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if (real := os.path.realpath(folder)) in seen:
            inner.clear()
            continue
        seen.add(real)
        found = (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        yield from (file for file in found if file.is_file())


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


def file_blocks(path: Path) -> Iterator[tuple[int, str]]:
    """`blocks` of a file.

    Raises:
        MissingInputError: if it is not a file.
        DataError: if it is not UTF-8 text.
    """
    refuse_missing(path)
    with path.open("rb") as file:
        yield from blocks(file, path)


def file_lines(path: Path) -> Iterator[tuple[int, str]]:
    """`lines` of a file; raises as `file_blocks` does."""
    return _lines(file_blocks(path))


def lines(file: IO[bytes], where: Path | str) -> Iterator[tuple[int, str]]:
    """Each line's number, counted from 1, and the line without its end.

    Args:
        file: opened to read bytes.
        where: where it came from, for messages.

    Raises:
        DataError: if it is not UTF-8 text.
    """
    return _lines(blocks(file, where))


def blocks(file: IO[bytes], where: Path | str) -> Iterator[tuple[int, str]]:
    """Text of whole lines, some at a time, and the number of the first of them; see `lines`."""
    number, offset = 1, 0
    for content in _whole_lines(file, where):
        text = _decode(content, where, number=number, offset=offset)
        yield number, text
        number += text.count("\n") + text.count("\r") - text.count("\r\n")
        offset += len(content)


def _lines(parts: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    for number, text in parts:
        found = _LINE_END.split(text) if "\r" in text else text.split("\n")
        # nothing stands behind the last end
        yield from enumerate(found if found[-1] else found[:-1], start=number)


def _whole_lines(file: IO[bytes], where: Path | str) -> Iterator[bytes]:
    """Bytes that end with a line; neither LF nor CR is ever part of another UTF-8 character."""
    begun: list[bytes] = []
    while chunk := file.read(_BLOCK):
        # a CR at the very end may be half of a CR LF
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r", 0, -1)) + 1
        if end:
            yield b"".join([*begun, chunk[:end]])
            begun = []
        begun.append(chunk[end:])
        if len(begun) * _BLOCK > LONGEST_LINE:
            raise DataError(
                f"{where}: expected lines; found one of more than {LONGEST_LINE:,} bytes"
            )
    if rest := b"".join(begun):
        yield rest


def _decode(content: bytes, where: Path | str, *, number: int, offset: int) -> str:
    """Bytes as text, of which `number` and `offset` say where in the file they stand."""
    if not offset:
        _refuse_other_formats(content, where)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = number + len(_LINE_END.findall(content[: error.start].decode("latin-1")))
        raise DataError(
            f"{where}:{line}: expected UTF-8; found the byte 0x{content[error.start]:02x} at "
            f"offset {offset + error.start}. Save the file as UTF-8"
        ) from error
    if "\0" in text:
        line = number + len(_LINE_END.findall(text[: text.index("\0")]))
        raise DataError(f"{where}:{line}: expected text; found a NUL character")
    return text if offset else text.removeprefix("\ufeff")


def _refuse_other_formats(content: bytes, where: Path | str) -> None:
    for magic, kind in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise DataError(f"{where}: expected text; found a {kind}")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{where}:1: expected UTF-8; found UTF-16. Save the file as UTF-8")
