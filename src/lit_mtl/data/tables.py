"""Reads one table and yields its rows: CSV, TSV, JSON lines, Parquet, a saved Hugging Face dataset.

All formats give the same: named columns, and for each row its number and the cells that are asked
for. A cell is text as it was written, or None where nothing is.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from pyarrow import parquet

from lit_mtl.data.readers import (
    Row,
    lines_of,
    read_text,
    refuse_missing,
    refuse_unreadable,
    visible_files,
)
from lit_mtl.errors import DataError

TEXT_COLUMNS = ("text", "sentence")
"""Names of the column that holds the sentence; the first one found is taken."""

Cell = str | None
Cells = Iterator[tuple[int, Sequence[Cell]]]


class Number(str):
    """A number or truth value as it was written: a target, but no sentence."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that was looked into.

    Args:
        path: its file or folder.
        columns: names of the columns.
        read: gives the cells of some columns, row by row, with the row's number: that of the line it
            ends on, or of the row itself where there are no lines.
    """

    path: Path
    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Cells]

    def column(self, names: Sequence[str]) -> str | None:
        """The first of several names that a column has; None if there is none of them."""
        return next((name for name in names if name in self.columns), None)


def is_table(path: Path) -> bool:
    """Whether a path is read as a table: a file or a saved dataset, and not a folder of files."""
    return not path.is_dir() or _is_saved_dataset(path)


def tables(path: Path) -> list[Path]:
    """The tables at a path: itself, or those of a folder."""
    return [path] if is_table(path) else visible_files(path, FORMATS)


def open_table(path: Path) -> Table:
    """Find out a table's columns.

    Raises:
        MissingInputError: if there is nothing.
        DataError: if it is no table, or two columns have one name.
    """
    opener = _open_saved_dataset if path.is_dir() else FORMATS.get(path.suffix.lower())
    if opener is None:
        hint = "; JSON is read line by line, from .jsonl" if path.suffix.lower() == ".json" else ""
        raise DataError(
            f"{path}: expected a table ending in {', '.join(FORMATS)}, or a folder{hint}"
        )
    table = opener(path)
    repeated = sorted({name for name in table.columns if table.columns.count(name) > 1})
    if repeated:
        raise DataError(
            f"{path}:1: expected different column names; found twice: {', '.join(repeated)}"
        )
    return table


def read_table(path: Path, *, target_columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a table. Wholly blank lines of a text format are none.

    Args:
        path: a file whose name ends as one of `FORMATS`, or the folder of a saved dataset.
        target_columns: names of the column to read as target; the first one found is taken.

    Raises:
        MissingInputError: if there is nothing.
        DataError: for a missing or repeated column, or a row that does not fit the others.
    """
    table = open_table(path)
    columns = []
    for names in (TEXT_COLUMNS, target_columns):
        column = table.column(names)
        if column is None:
            raise DataError(
                f"{path}:1: expected a column named {' or '.join(names)}; "
                f"found the columns {', '.join(table.columns) or 'none'}"
            )
        columns.append(column)
    for number, (text, target) in table.read(columns):
        where = f"{path}:{number}"
        if isinstance(text, Number):
            raise DataError(f"{where}: expected a sentence under {columns[0]!r}; found {text}")
        for cell in (text, target):
            refuse_unreadable(cell or "", where)
        yield Row((text or "").strip(), (target or "").strip() or None, where)


def _open_csv(path: Path) -> Table:
    """Quotes are those of RFC 4180."""
    return _open_separated(path, _csv_cells)


def _open_tsv(path: Path) -> Table:
    """A quote is a character like any other."""
    return _open_separated(path, _tsv_cells)


def _open_separated(
    path: Path, split: Callable[[Path, str], Iterator[tuple[int, list[str]]]]
) -> Table:
    """A table with a header line, of which each other line has as many cells."""
    text = read_text(path)

    def filled() -> Iterator[tuple[int, list[str]]]:
        return ((n, row) for n, row in split(path, text) if any(cell.strip() for cell in row))

    _, header = next(filled(), (0, []))
    if not header:
        raise DataError(f"{path}:1: expected a header line; found an empty file")
    columns = tuple(name.strip() for name in header)

    def read(wanted: Sequence[str]) -> Cells:
        places = [columns.index(name) for name in wanted]
        rows = filled()
        next(rows)
        for number, row in rows:
            if len(row) != len(columns):
                raise DataError(
                    f"{path}:{number}: expected {len(columns)} cells ({', '.join(columns)}); "
                    f"found {len(row)}"
                )
            yield number, [row[place] for place in places]

    return Table(path=path, columns=columns, read=read)


def _tsv_cells(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines_of(text), start=1):
        yield number, line.split("\t")


def _csv_cells(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(sys.maxsize)  # Python's own is 131,072 characters
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a well-formed CSV line: {error}") from error


def _open_json_lines(path: Path) -> Table:
    """One object a line; a key that a line lacks is an empty cell."""
    rows = [
        (number, _json_object(line, f"{path}:{number}"))
        for number, line in enumerate(lines_of(read_text(path)), start=1)
        if line.strip()
    ]
    if not rows:
        raise DataError(f"{path}:1: expected one JSON object a line; found an empty file")

    def read(wanted: Sequence[str]) -> Cells:
        for number, row in rows:
            yield number, [_cell(row.get(name), f"{path}:{number}", name) for name in wanted]

    columns = dict.fromkeys(name for _, row in rows for name in row)
    return Table(path=path, columns=tuple(columns), read=read)


def _json_object(line: str, where: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise DataError(f"{where}: expected each key once; found twice: {', '.join(repeated)}")
        return dict(pairs)

    number: Any = Number  # keeps the digits as they were written
    try:
        row = json.loads(
            line,
            object_pairs_hook=unique,
            parse_int=number,
            parse_float=number,
            parse_constant=number,
        )
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: expected one JSON object a line; found {_short(line)} "
            f"({error.msg}, column {error.colno})"
        ) from error
    except RecursionError as error:
        raise DataError(f"{where}: expected a flat JSON object; found {_short(line)}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected one JSON object a line; found {_short(line)}")
    return row


_DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises for a file that is not what it should be."""


def _open_parquet(path: Path) -> Table:
    refuse_missing(path)
    try:
        columns = tuple(parquet.read_schema(path).names)
    except _DAMAGED as error:
        raise DataError(f"{path}: expected a whole Parquet file; found {error}") from error

    def read(wanted: Sequence[str]) -> Cells:
        try:
            with parquet.ParquetFile(path) as file:
                yield from _arrow_cells(path, file.iter_batches(columns=list(wanted)), wanted)
        except _DAMAGED as error:
            raise DataError(f"{path}: expected a whole Parquet file; found {error}") from error

    return Table(path=path, columns=columns, read=read)


def _is_saved_dataset(path: Path) -> bool:
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def _open_saved_dataset(path: Path) -> Table:
    """What `Dataset.save_to_disk` has written; class numbers are read as their names."""
    if (path / "dataset_dict.json").is_file():
        found = ", ".join(str(folder) for folder in sorted(path.iterdir()) if folder.is_dir())
        raise DataError(f"{path}: expected one dataset; found several, name one of them: {found}")
    if not _is_saved_dataset(path):
        raise DataError(f"{path}: expected a table or a saved dataset; found another folder")
    try:
        dataset = datasets.Dataset.load_from_disk(str(path))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected a whole saved dataset; found {error!r}") from error

    def read(wanted: Sequence[str]) -> Cells:
        chosen = dataset.select_columns(list(wanted)).with_format("arrow")
        classes = {
            name: feature.names
            for name, feature in chosen.features.items()
            if isinstance(feature, datasets.ClassLabel)
        }
        yield from _arrow_cells(path, chosen.iter(batch_size=1000), wanted, classes=classes)

    return Table(path=path, columns=tuple(dataset.column_names), read=read)


def _arrow_cells(
    path: Path,
    batches: Iterable[pa.RecordBatch | pa.Table],
    wanted: Sequence[str],
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Cells:
    """Rows of Arrow batches, counted from 1; `classes` has the names of numbered classes."""
    number = 0
    for batch in batches:
        columns = {name: batch.column(name).to_pylist() for name in wanted}
        for name, names in (classes or {}).items():
            # -1 stands for a missing label
            columns[name] = [None if k is None or k < 0 else names[k] for k in columns[name]]
        for values in zip(*(columns[name] for name in wanted), strict=True):
            number += 1
            where = f"{path}:{number}"
            yield (
                number,
                [_cell(value, where, name) for name, value in zip(wanted, values, strict=True)],
            )


def _cell(value: Any, where: str, name: str) -> Cell:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return Number(str(value).lower())
    if isinstance(value, int | float | Decimal):
        return Number(value)
    raise DataError(
        f"{where}: expected text or a number under {name!r}; found {_short(repr(value))}"
    )


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


FORMATS: dict[str, Callable[[Path], Table]] = {
    ".tsv": _open_tsv,
    ".csv": _open_csv,
    ".jsonl": _open_json_lines,
    ".ndjson": _open_json_lines,
    ".parquet": _open_parquet,
}
"""How a table is opened, by the end of its name."""
