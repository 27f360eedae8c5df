"""Opens Parquet as a table, and gives the rows of Arrow's batches, whatever they come from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from lit_mtl.data.readers import refuse_missing
from lit_mtl.data.table import Record, Table
from lit_mtl.data.table_cells import as_cell
from lit_mtl.errors import DataError

DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)
"""What pyarrow raises for data that are not what they should be; the last for dates that Python cannot hold."""

ARROW_ROWS = 10_000
"""Rows that are turned into text at once."""


def open_parquet(path: Path) -> Table:
    """A Parquet file, read some rows at a time."""
    refuse_missing(path)
    try:
        schema = parquet.read_schema(path)
    except DAMAGED as error:
        raise DataError(f"{path}: expected a whole Parquet file; found {error}") from error

    def read(wanted: Sequence[str], *, foreign: bool = False) -> Iterator[Record]:
        try:
            with parquet.ParquetFile(path) as file:
                batches = file.iter_batches(batch_size=ARROW_ROWS, columns=list(wanted))
                yield from arrow_records(path, batches, wanted, foreign=foreign)
        except DAMAGED as error:
            raise DataError(f"{path}: expected a whole Parquet file; found {error}") from error

    return Table(
        path=path,
        columns=tuple(schema.names),
        read=read,
        read_foreign=partial(read, foreign=True),
        arrow_only=arrow_only(schema),
        files=(path,),
    )


def arrow_records(
    path: Path,
    batches: Iterable[pa.RecordBatch | pa.Table],
    wanted: Sequence[str],
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
    foreign: bool,
) -> Iterator[Record]:
    """Rows of Arrow batches, counted from 1; `classes` has the names of numbered classes."""
    number = 0
    names = [(classes or {}).get(name, ()) for name in wanted]

    def cell(value: Any, name: str, known: Sequence[str]) -> Any:
        where = f"{path}:{number}"
        if isinstance(value, pa.Scalar):
            return _arrow_cell(value, where, name, foreign=foreign)
        return as_cell(_named(value, known, where), where, name, foreign=foreign)

    for batch in batches:
        columns = [_values(batch.column(name)) for name in wanted]
        for values in zip(*columns, strict=True):
            number += 1
            yield Record(path, number, list(map(cell, values, wanted, names)))


def _named(value: Any, names: Sequence[str], where: str) -> Any:
    """A class number, or each one of a list, by its name; -1 stands for a missing label."""
    if not names or value is None:
        return value
    if isinstance(value, list):
        return [_named(part, names, where) for part in value]
    if value >= len(names):
        raise DataError(
            f"{where}: expected the number of one of {len(names)} classes; found {value}"
        )
    return names[value] if value >= 0 else None


def _values(column: pa.Array | pa.ChunkedArray) -> Sequence[Any]:
    """Python's values, and Arrow's where only Arrow has such."""
    kind = _stored(column.type)
    stored = column if kind == column.type else column.cast(kind)
    return stored.to_pylist() if _is_plain(kind) else list(stored)


def _arrow_cell(value: pa.Scalar, where: str, name: str, *, foreign: bool) -> pa.Scalar | None:
    if not value.is_valid:
        return None
    if not foreign:
        raise DataError(
            f"{where}: expected text, a number or a list under {name!r}; found {value.type}"
        )
    return value


def arrow_only(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The columns of which only Arrow can hold the cells, with their types."""
    stored = {each.name: _stored(each.type) for each in schema}
    return {name: kind for name, kind in stored.items() if not _is_plain(kind)}


def _stored(kind: pa.DataType) -> pa.DataType:
    """What an extension of Arrow's types, such as an array of two dimensions, is stored as."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_plain(kind: pa.DataType) -> bool:
    """Whether JSON or text can hold all values of an Arrow type as they are."""
    if pa.types.is_dictionary(kind) or any(is_list(kind) for is_list in _LISTS):
        return _is_plain(kind.value_type)
    if pa.types.is_struct(kind):
        return all(_is_plain(kind.field(place).type) for place in range(kind.num_fields))
    # Python's times have no nanoseconds
    return any(is_kind(kind) for is_kind in _PLAIN) and kind != pa.time64("ns")


_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)

_PLAIN = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
)
