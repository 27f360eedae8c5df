"""Opens JSON lines as a table: one object a line, with numbers as they were written."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lit_mtl.data.readers import file_lines
from lit_mtl.data.table import Record, Table
from lit_mtl.data.table_cells import Cell, Verbatim, as_cell, shortened
from lit_mtl.errors import DataError


def open_json_lines(path: Path) -> Table:
    """One object a line; a key that a line lacks is an empty cell. Read once for the keys."""

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in file_lines(path):
            if line.strip():
                yield number, _json_object(line, f"{path}:{number}")

    columns: dict[str, None] = {}
    empty = True
    for _, row in rows():
        empty = False
        columns.update(dict.fromkeys(row))
    if empty:
        raise DataError(f"{path}:1: expected one JSON object a line; found an empty file")

    def read(wanted: Sequence[str], *, foreign: bool = False) -> Iterator[Record]:
        for number, row in rows():
            where = f"{path}:{number}"
            yield Record(path, number, _cells(row, wanted, where, foreign=foreign))

    return Table(
        path=path,
        columns=tuple(columns),
        read=read,
        read_foreign=partial(read, foreign=True),
        files=(path,),
    )


class _RepeatedKeysError(ValueError):
    """A JSON object that has a key twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise _RepeatedKeysError(f"expected each key once; found twice: {', '.join(repeated)}")
    return row


def _constant(name: str) -> Any:
    """NaN is how some write a missing number."""
    return None if name == "NaN" else Verbatim(name)


_VERBATIM: Any = Verbatim  # keeps the digits as they were written

_JSON = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_VERBATIM,
    parse_float=_VERBATIM,
    parse_constant=_constant,
)


def _cells(
    row: Mapping[str, Any], wanted: Sequence[str], where: str, *, foreign: bool
) -> list[Cell]:
    try:
        return [as_cell(row.get(name), where, name, foreign=foreign) for name in wanted]
    except RecursionError as error:
        raise _too_deep(where) from error


def _too_deep(where: str) -> DataError:
    return DataError(f"{where}: expected a flat JSON object; found one nested too deeply")


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = _JSON.decode(line)
    except _RepeatedKeysError as error:
        raise DataError(f"{where}: {error}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: expected one JSON object a line; found {shortened(line)} "
            f"({error.msg}, column {error.colno})"
        ) from error
    except RecursionError as error:
        raise _too_deep(where) from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected one JSON object a line; found {shortened(line)}")
    return row
