"""Rows that come one after the other, written to one file that appears complete or not at all.

Shapes: D embedding dimension.
"""

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from lit_mtl.data.table_cells import as_json
from lit_mtl.errors import ConfigError
from lit_mtl.files import atomic_writer

Row = Mapping[str, Any]
"""A row's columns as they were read, and what was found under a key of its own."""


class RowWriter(ABC):
    """Writes rows to an open file; `close` makes it whole.

    Args:
        file: to write bytes to.
        example: a row with all keys; its values have the types of all rows. Its lists of numbers are
            vectors, which are as long in all of them; other lists are of words, and may be empty.
            A scalar of Arrow has the type of its column.
    """

    holds_arrow: ClassVar[bool] = False
    """Whether rows may have scalars of Arrow, of columns that only Arrow can hold."""

    def __init__(self, file: IO[bytes], example: Row) -> None:
        self.file = file

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Append rows, all with the same keys."""

    def close(self) -> None:
        """Write what has to stand behind or before the rows."""
        return


class JsonLinesWriter(RowWriter):
    """One object a line; what is nested stays nested."""

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        for row in rows:
            pairs = (f"{as_json(name)}: {as_json(value)}" for name, value in row.items())
            self.file.write(f"{{{', '.join(pairs)}}}\n".encode())


class CsvWriter(RowWriter):
    """RFC 4180, with a header; what is nested becomes columns with dots in their names.

    A list of words is one cell, a JSON array, as targets are read. Lines end with a line feed alone.
    """

    def __init__(self, file: IO[bytes], example: Row) -> None:
        super().__init__(file, example)
        self._columns = list(flattened(example))
        self._write([self._columns])

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self._write([[row.get(name) for name in self._columns] for row in map(flattened, rows)])

    def _write(self, lines: Sequence[Sequence[Any]]) -> None:
        text = io.StringIO()
        plain = csv.writer(text, lineterminator="\n")
        # Python before 3.13 writes a carriage return as it is, which would end the line
        quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for line in lines:
            torn = any(isinstance(cell, str) and "\r" in cell for cell in line)
            (quoted if torn else plain).writerow(line)
        self.file.write(text.getvalue().encode())


class ParquetWriter(RowWriter):
    """A row group for each `write`; what is nested becomes columns, but vectors stay lists."""

    holds_arrow: ClassVar[bool] = True

    def __init__(self, file: IO[bytes], example: Row) -> None:
        super().__init__(file, example)
        flat = flattened(example, lists=False)
        fields = [pa.field(name, _arrow_type(value)) for name, value in flat.items()]
        self._schema = pa.schema(fields)
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        flat = [flattened(row, lists=False) for row in rows]
        self._writer.write_table(pa.Table.from_pylist(flat, schema=self._schema))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


class NumpyWriter(RowWriter):
    """The vectors alone, an array (rows, D) of float32; a row without one is NaN."""

    holds_arrow: ClassVar[bool] = True  # of which it writes none

    _HEADER = 128
    """Bytes of a header, those of any number of rows."""

    def __init__(self, file: IO[bytes], example: Row) -> None:
        super().__init__(file, example)
        self._rows, self._dimension = 0, len(example["embedding"])
        file.write(bytes(self._HEADER))

    def write(self, rows: Sequence[Row]) -> None:
        """Append the rows' vectors."""
        missing = [float("nan")] * self._dimension
        vectors = [missing if row["embedding"] is None else row["embedding"] for row in rows]
        self._rows += len(rows)
        self.file.write(np.asarray(vectors, dtype="<f4").tobytes())

    def close(self) -> None:
        """Write the header, now that the number of rows is known."""
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._rows, self._dimension)}
        text = f"{header!r}".encode("ascii")
        space = self._HEADER - 10 - len(text) - 1
        self.file.seek(0)
        self.file.write(b"\x93NUMPY\x01\x00" + (self._HEADER - 10).to_bytes(2, "little"))
        self.file.write(text + b" " * space + b"\n")


WRITERS: dict[str, type[RowWriter]] = {
    ".jsonl": JsonLinesWriter,
    ".csv": CsvWriter,
    ".parquet": ParquetWriter,
    ".npy": NumpyWriter,
}
"""How rows are written, by the end of the file's name."""


@contextmanager
def row_writer(path: Path, example: Row) -> Iterator[RowWriter]:
    """A writer by the end of a name; the file gets it when the block ends.

    Args:
        path: the file; folders on the way are made.
        example: a row with all keys.

    Raises:
        ConfigError: for another ending.
        StorageError: if it cannot be written; what stood there is left.
    """
    kind = writer_of(path)
    with atomic_writer(path) as file:
        writer = kind(file, example)
        try:
            yield writer
        finally:
            writer.close()


def writer_of(path: Path, *, vectors: bool = True) -> type[RowWriter]:
    """The writer by the end of a name.

    Args:
        path: the file.
        vectors: whether what is found of a row is one vector, which an array can hold.

    Raises:
        ConfigError: for another ending.
    """
    endings = [ending for ending in WRITERS if vectors or ending != ".npy"]
    if (ending := path.suffix.lower()) not in endings:
        raise ConfigError(f"{path}: expected an output that ends in {', '.join(endings)}")
    return WRITERS[ending]


def flattened(row: Row, *, lists: bool = True) -> dict[str, Any]:
    """Nested values under names with dots; the key of what was found is left out of them.

    Args:
        row: as it is written to JSON lines.
        lists: whether each element of a vector gets a name of its own, and other lists become JSON.
    """
    flat: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, Mapping) and not isinstance(value, pa.Scalar):
            for key, part in value.items():
                add(f"{name}.{key}" if name else str(key), part)
        elif lists and _is_vector(value):
            for number, part in enumerate(value):
                add(f"{name}.{number}", part)
        elif lists and isinstance(value, list):
            flat[name] = json.dumps(value, ensure_ascii=False)
        else:
            flat[name] = value

    for name, value in row.items():
        add("" if name == "predictions" else name, value)
    return flat


def _is_vector(value: Any) -> bool:
    """Whether it is a list of numbers; a list without an element is one of words."""
    return isinstance(value, list) and bool(value) and not isinstance(value[0], str)


def _arrow_type(value: Any) -> pa.DataType:
    if isinstance(value, pa.Scalar):
        return value.type
    if isinstance(value, list):
        return pa.list_(pa.float32() if _is_vector(value) else pa.string())
    if isinstance(value, int):
        return pa.int64()
    return pa.float64() if isinstance(value, float) else pa.string()
