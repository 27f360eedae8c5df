"""Opens files and folders as tables: CSV, TSV, JSON lines, Parquet, saved Hugging Face datasets.

All formats give the same: named columns, and for each row where it stands and the cells that are
asked for. A cell is text as it was written, or None where nothing is. Rows are read one after the
other, so a table may be larger than memory.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
from pyarrow import parquet

from lit_mtl.data.readers import (
    LONGEST_LINE,
    file_blocks,
    file_lines,
    files_below,
    refuse_missing,
    visible_files,
)
from lit_mtl.errors import DataError, MissingInputError

TEXT_COLUMNS = ("text", "sentence")
"""Names of the column that holds the sentence; the first one found is taken."""

Cell = str | None


class Record(NamedTuple):
    """A row of a table.

    Args:
        file: the file it stands in.
        number: that of the line it ends on, or of the row itself where there are no lines.
        cells: those of the columns that were asked for. From `Table.read_all`, those of the columns
            in `Table.arrow_only` are Arrow's scalars.
    """

    file: Path
    number: int
    cells: Sequence[Cell]

    @property
    def where(self) -> str:
        """`file:line` for messages."""
        return f"{self.file}:{self.number}"


class Verbatim(str):
    """A number, truth value or list, written as JSON writes it: a target, but no sentence."""

    __slots__ = ()


class Foreign(Verbatim):
    """An object, or a list with objects in it, as JSON: no target either, and only passed on."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that was looked into.

    Args:
        path: its file or folder.
        columns: names of the columns.
        read: gives the rows with the cells of some columns, which have to be text, numbers or lists.
        read_foreign: the same with whatever the cells are. None: `read` refuses none for its kind.
        arrow_only: columns of which only Arrow can hold the cells, such as bytes, with their types.
        files: the files that are read, if they are the user's own.
        version: names the content where there is no file of the user's own.
        is_label_folder: whether its targets are the names of text files.
    """

    path: Path
    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[Record]]
    read_foreign: Callable[[Sequence[str]], Iterator[Record]] | None = None
    arrow_only: Mapping[str, pa.DataType] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    version: str = ""
    is_label_folder: bool = False

    def read_all(self) -> Iterator[Record]:
        """The rows with all cells, to be looked at or passed on: no column is refused for its kind."""
        return (self.read_foreign or self.read)(self.columns)

    def column(self, names: Sequence[str]) -> str | None:
        """The first of several names that a column has; None if there is none of them."""
        return next((name for name in names if name in self.columns), None)

    def sentences(self, name: str | None = None) -> str | None:
        """The column of the sentences: that of a name, or the first of `TEXT_COLUMNS`; None without."""
        return self.column(TEXT_COLUMNS if name is None else (name,))

    def text_column(self, name: str | None = None) -> str:
        """The column of `sentences`, which has to be there.

        Raises:
            DataError: if there is none.
        """
        column = self.sentences(name)
        if column is None:
            names = TEXT_COLUMNS if name is None else (name,)
            raise DataError(
                f"{self.path}:1: expected a column named {' or '.join(names)}; "
                f"found the columns {', '.join(self.columns) or 'none'}"
            )
        return column


HUB = "hub:"
"""What the name of a dataset of the Hugging Face hub begins with."""


def is_table(path: Path) -> bool:
    """Whether a path is read as a table: a file or a saved dataset, and not a folder of files."""
    return not path.is_dir() or _is_saved_dataset(path)


def tables(path: Path) -> list[Path]:
    """The tables at a path: itself, or those of a folder."""
    return [path] if is_table(path) else visible_files(path, FORMATS)


def files_of(path: Path) -> list[Path]:
    """The files that can be read at a path: itself, a saved dataset's, or texts and tables of a folder.

    Whatever else is in a folder, or in folders below it, decides about nothing.
    """
    if path.is_dir() and not (_is_saved_dataset(path) or _is_saved_parts(path)):
        return visible_files(path, (".txt", *FORMATS))
    return list(files_below(path))


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


def sentence(record: Record, column: str) -> str:
    """The first cell of a row as a sentence, without white space around it; may be empty.

    Raises:
        DataError: if it is no text.
    """
    cell = record.cells[0]
    if isinstance(cell, Verbatim | pa.Scalar):
        found = cell.type if isinstance(cell, pa.Scalar) else cell
        raise DataError(f"{record.where}: expected a sentence under {column!r}; found {found}")
    return (cell or "").strip()


def _open_csv(path: Path) -> Table:
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


def _open_tsv(path: Path) -> Table:
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


def _open_json_lines(path: Path) -> Table:
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
            cells = [_cell(row.get(name), where, name, foreign=foreign) for name in wanted]
            yield Record(path, number, cells)

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


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = _JSON.decode(line)
    except _RepeatedKeysError as error:
        raise DataError(f"{where}: {error}") from error
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
        schema = parquet.read_schema(path)
    except _DAMAGED as error:
        raise DataError(f"{path}: expected a whole Parquet file; found {error}") from error

    def read(wanted: Sequence[str], *, foreign: bool = False) -> Iterator[Record]:
        try:
            with parquet.ParquetFile(path) as file:
                batches = file.iter_batches(batch_size=_ARROW_ROWS, columns=list(wanted))
                yield from _arrow_records(path, batches, wanted, foreign=foreign)
        except _DAMAGED as error:
            raise DataError(f"{path}: expected a whole Parquet file; found {error}") from error

    return Table(
        path=path,
        columns=tuple(schema.names),
        read=read,
        read_foreign=partial(read, foreign=True),
        arrow_only=_arrow_only(schema),
        files=(path,),
    )


_ARROW_ROWS = 10_000
"""Rows that are turned into text at once."""


def _is_saved_dataset(path: Path) -> bool:
    return (path / "state.json").is_file()


def _is_saved_parts(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file()


def saved_datasets(path: Path) -> dict[str, Table]:
    """The parts of what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` has written, by name.

    A single dataset is one part without a name; there is none where something else lies.
    """
    if _is_saved_parts(path):
        folders = sorted(folder for folder in path.iterdir() if _is_saved_dataset(folder))
        return {folder.name: open_table(folder) for folder in folders}
    return {"": open_table(path)} if _is_saved_dataset(path) else {}


def open_hub_dataset(name: str) -> dict[str, Table]:
    """The parts of a dataset of the hub by name.

    Args:
        name: `hub:<name>`, or `hub:<name>#<part>` for one part, such as `hub:stanfordnlp/imdb#train`.

    Raises:
        MissingInputError: if it cannot be fetched.
    """
    repository, _, part = name.removeprefix(HUB).partition("#")
    try:
        found = datasets.load_dataset(repository)
    except Exception as error:  # the hub, the network, the builder: each has its own kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MissingInputError(
            f"{name}: expected a dataset of the Hugging Face hub, which could not be fetched "
            f"({reason})"
        ) from error
    if part and part not in found:
        raise MissingInputError(f"{name}: expected one of the parts {', '.join(found)}")
    chosen = {part: found[part]} if part else found
    return {key: dataset_table(value, Path(f"{name}#{key}")) for key, value in chosen.items()}


def _open_saved_dataset(path: Path) -> Table:
    """A saved dataset; class numbers are read as their names."""
    if not _is_saved_dataset(path):
        raise DataError(f"{path}: expected a table or a saved dataset; found another folder")
    try:
        dataset = datasets.Dataset.load_from_disk(str(path))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected a whole saved dataset; found {error!r}") from error
    return replace(dataset_table(dataset, path), files=tuple(files_below(path)))


def dataset_table(dataset: datasets.Dataset, path: Path) -> Table:
    """A Hugging Face dataset as a table; `path` stands for it in messages."""

    def read(wanted: Sequence[str], *, foreign: bool = False) -> Iterator[Record]:
        chosen = dataset.select_columns(list(dict.fromkeys(wanted))).with_format("arrow")
        classes = {name: _class_names(feature) for name, feature in chosen.features.items()}
        batches = chosen.iter(batch_size=_ARROW_ROWS)
        yield from _arrow_records(path, batches, wanted, classes=classes, foreign=foreign)

    return Table(
        path=path,
        columns=tuple(dataset.column_names),
        read=read,
        read_foreign=partial(read, foreign=True),
        arrow_only=_arrow_only(dataset.features.arrow_schema),
        version=dataset._fingerprint,
    )


def _arrow_records(
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
        return _cell(_named(value, known, where), where, name, foreign=foreign)

    for batch in batches:
        columns = [_values(batch.column(name)) for name in wanted]
        for values in zip(*columns, strict=True):
            number += 1
            yield Record(path, number, list(map(cell, values, wanted, names)))


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


def _arrow_only(schema: pa.Schema) -> dict[str, pa.DataType]:
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


def _class_names(feature: Any) -> Sequence[str]:
    """Names of the classes that a column of a dataset counts, in lists or alone; else none."""
    if isinstance(feature, datasets.ClassLabel):
        return feature.names  # type: ignore[no-any-return]
    inner = getattr(feature, "feature", None)  # of the lists, all of which have one
    return () if inner is None else _class_names(inner)


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


def _cell(value: Any, where: str, name: str, *, foreign: bool) -> Cell:
    """A value as a cell; `foreign` says whether it may also be an object."""
    if value is None or isinstance(value, Verbatim):
        return value
    if isinstance(value, str):
        return _text(value, where, name)
    if isinstance(value, bool | float | int | Decimal):
        return _number(value)
    if isinstance(value, date | time):
        return value.isoformat()  # as it would stand in a CSV file
    if isinstance(value, list):
        parts = [_cell(part, where, name, foreign=foreign) for part in value]
        kind = Foreign if any(isinstance(part, Foreign) for part in parts) else Verbatim
        return kind(f"[{', '.join(map(_as_json, parts))}]")
    if foreign and isinstance(value, dict):
        keys = [_as_json(_text(key, where, name)) for key in value]
        parts = [_cell(part, where, name, foreign=True) for part in value.values()]
        pairs = zip(keys, map(_as_json, parts), strict=True)
        return Foreign(f"{{{', '.join(f'{key}: {part}' for key, part in pairs)}}}")
    raise DataError(
        f"{where}: expected text, a number or a list under {name!r}; found {_short(repr(value))}"
    )


def _text(value: str, where: str, name: str) -> str:
    if found := _UNREADABLE.search(value):
        raise DataError(
            f"{where}: expected text under {name!r}; found the character {found.group()!r}"
        )
    return value


def _number(value: bool | float | int | Decimal) -> Verbatim | None:
    if isinstance(value, bool):
        return Verbatim(str(value).lower())
    if isinstance(value, float):
        # pandas and others write a missing number so
        return None if math.isnan(value) else Verbatim(json.dumps(value))
    return Verbatim(value)


_UNREADABLE = re.compile("[\0\ud800-\udfff]")
"""What no UTF-8 file holds and tokenizers cannot read, but JSON can spell: NUL, half a pair."""


def _as_json(cell: Cell) -> str:
    return cell if isinstance(cell, Verbatim) else json.dumps(cell, ensure_ascii=False)


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
