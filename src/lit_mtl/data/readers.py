"""Reads one file or folder and yields its rows. Knows formats, and nothing of models.

A line ends at LF, CR LF or CR and nowhere else: Python's `str.splitlines` would also cut at form
feeds, U+2028 and others, which are part of a sentence.
"""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lit_mtl.errors import DataError, MissingInputError

TEXT_COLUMNS = ("text", "sentence")
"""Names of the column that holds the sentence; the first one found is taken."""

TABLE_SUFFIXES = {".tsv": "\t", ".csv": ","}
"""Table formats by the end of a file's name, with their separator."""

_LABEL_ALIASES = {
    alias: label for label in ("positive", "negative") for alias in (label, f"{label}s", label[:3])
}


@dataclass(frozen=True, slots=True)
class Row:
    """One sentence as it stands in a file.

    Args:
        text: the sentence without white space around it.
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
        if not rows:
            raise DataError(f"{paths[0]}: expected one sentence a line; found an empty file")
        yield from rows


def read_lines(path: Path, *, target: str | None = None) -> Iterator[Row]:
    """Rows of a text file with one sentence a line; blank lines are passed over."""
    return split_lines(read_text(path), path, target=target)


def split_lines(text: str, path: Path | str, *, target: str | None = None) -> Iterator[Row]:
    """Rows of a text with one sentence a line; `path` says where it came from."""
    for number, line in enumerate(_lines(text), start=1):
        if sentence := line.strip():
            yield Row(sentence, target, f"{path}:{number}")


def table_columns(path: Path) -> list[str]:
    """The header of a CSV or TSV file."""
    return _header(path, _cells(path))


def find_column(header: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of several names that the header has; None if it has none of them."""
    return next((name for name in names if name in header), None)


def read_table(path: Path, *, target_columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a CSV or TSV file with a header line.

    In a TSV file a quote is a character like any other; a CSV file quotes as RFC 4180 says.

    Args:
        path: a file whose name ends in .csv or .tsv.
        target_columns: names of the column to read as target; the first one found is taken.

    Raises:
        DataError: for a missing or repeated column or a line with too few or too many cells.
    """
    rows = _cells(path)
    header = _header(path, rows)
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise DataError(f"{path}:1: expected different column names; found twice: {repeated}")
    text_column = find_column(header, TEXT_COLUMNS)
    target_column = find_column(header, target_columns)
    for column, names in ((text_column, TEXT_COLUMNS), (target_column, target_columns)):
        if column is None:
            raise DataError(
                f"{path}:1: expected a column named {' or '.join(names)}; "
                f"found the columns {', '.join(header)}"
            )
    assert text_column is not None
    assert target_column is not None
    text_index, target_index = header.index(text_column), header.index(target_column)
    for number, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"{path}:{number}: expected {len(header)} cells ({', '.join(header)}); "
                f"found {len(cells)}"
            )
        if text := cells[text_index].strip():
            yield Row(text, cells[target_index].strip() or None, f"{path}:{number}")


def read_text(path: Path) -> str:
    """A whole file as text.

    Raises:
        MissingInputError: if it is not a file.
        DataError: if it is not UTF-8 text.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: expected a file, found none")
    return decode(path.read_bytes(), path)


def decode(content: bytes, path: Path | str) -> str:
    """Bytes as text.

    Args:
        content: what was read.
        path: where it came from, for messages.

    Raises:
        DataError: if it is not UTF-8 text; the message has the line and the byte offset.
    """
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


def _lines(text: str) -> list[str]:
    return _LINE_END.split(text)


def _header(path: Path, rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    _, cells = next(rows, (0, []))
    if not cells:
        raise DataError(f"{path}:1: expected a header line; found an empty file")
    return [cell.strip() for cell in cells]


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line of a table that is not blank."""
    separator = TABLE_SUFFIXES.get(path.suffix.lower())
    if separator is None:
        raise DataError(
            f"{path}: expected a table ending in {' or '.join(TABLE_SUFFIXES)}, or a folder"
        )
    text = read_text(path)
    rows = _csv_cells(path, text) if separator == "," else _tsv_cells(text)
    for number, cells in rows:
        if any(cell.strip() for cell in cells):
            yield number, cells


def _tsv_cells(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_lines(text), start=1):
        yield number, line.split("\t")


def _csv_cells(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Cells with the line on which the row ends, since a quoted cell may span several."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a well-formed CSV line: {error}") from error
