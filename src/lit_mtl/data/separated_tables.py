"""Opens CSV and TSV as tables: a header line, and the cells of each line between separators."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from lit_mtl.data.readers import LONGEST_LINE, file_blocks, file_lines
from lit_mtl.data.table import Record, Table
from lit_mtl.errors import DataError


def open_csv(path: Path) -> Table:
    """Quotes are those of RFC 4180; cells are separated as `_separator` says."""
    table = _open_separated(path, partial(_csv_cells, separator=_separator(path)))
    if table.columns[0].lower().startswith("sep="):
        raise DataError(
            f"{path}:1: expected a header line; found {table.columns[0]!r}, which only Excel "
            "understands. Remove the line"
        )
    return table


def _separator(path: Path) -> str:
    """A comma; a semicolon where commas make no columns of the header, and semicolons do.

    So no file with two columns between commas is ever read otherwise, whatever stands in its rows.
    """
    with suppress(DataError):  # '"text";"label"' is not well-formed between commas
        if len(_header(_csv_cells(path, separator=","))) != 1:
            return ","
    with suppress(DataError):
        if len(_header(_csv_cells(path, separator=";"))) > 1:
            return ";"
    return ","  # what is wrong is said where the file is read


def open_tsv(path: Path) -> Table:
    """A quote is a character like any other."""
    return _open_separated(path, _tsv_cells)


_Rows = Iterator[tuple[int, list[str]]]
"""The cells of each line, and the line's number."""


def _filled(rows: _Rows) -> _Rows:
    return ((number, row) for number, row in rows if any(cell.strip() for cell in row))


def _header(rows: _Rows) -> list[str]:
    return next(_filled(rows), (0, []))[1]


def _open_separated(path: Path, split: Callable[[Path], _Rows]) -> Table:
    """A table with a header line, of which each other line has as many cells.

    A column without a name, as of an index or of commas at the ends of lines, is called `column 3` by
    its place.
    """
    header = _header(split(path))
    if not header:
        raise DataError(f"{path}:1: expected a header line; found an empty file")
    columns = tuple(name.strip() or f"column {place}" for place, name in enumerate(header, start=1))

    def read(wanted: Sequence[str]) -> Iterator[Record]:
        places = [columns.index(name) for name in wanted]
        rows = _filled(split(path))
        next(rows)
        for number, row in rows:
            if len(row) != len(columns):
                raise DataError(
                    f"{path}:{number}: expected {len(columns)} cells ({', '.join(columns)}); "
                    f"found {len(row)}"
                )
            yield Record(path, number, [row[place] for place in places])

    return Table(path=path, columns=columns, read=read, files=(path,))


def _tsv_cells(path: Path) -> _Rows:
    for number, line in file_lines(path):
        yield number, line.split("\t")


def _csv_cells(path: Path, separator: str) -> _Rows:
    csv.field_size_limit(LONGEST_LINE)  # Python's own is 131,072 characters
    lines = (line for _, text in file_blocks(path) for line in io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a well-formed CSV line: {error}") from error
