"""Sentences to embed or to predict, with the columns that stand beside them, some rows at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa

from lit_mtl.data.readers import file_lines, lines, refuse_missing
from lit_mtl.data.table import Table, sentence
from lit_mtl.data.table_cells import Cell
from lit_mtl.data.tables import FORMATS, open_table
from lit_mtl.errors import DataError

WINDOW = 4096
"""Rows that are in memory together; enough to sort them by length."""


class Window(NamedTuple):
    """Rows that follow each other.

    Args:
        number: counts the windows from 0.
        texts: the sentences, without white space around them; blank where a table's cell is.
        cells: each row's columns as they were read.
    """

    number: int
    texts: list[str]
    cells: list[Sequence[Cell]]


@dataclass(frozen=True, kw_only=True)
class Input:
    """Where sentences come from.

    A blank line of a text is no sentence and is passed over; a blank cell of a table keeps its row.

    Args:
        path: a text file with one sentence a line or a table; None: `texts` or `stream`.
        texts: sentences that are at hand.
        stream: an open text with one sentence a line.
        text_column: the column of the sentences. None: `text` or `sentence`.
    """

    path: Path | None = None
    texts: Sequence[str] = ()
    stream: IO[bytes] | None = None
    text_column: str | None = None

    def columns(self) -> list[str]:
        """Names of the columns, as they are read.

        Raises:
            MissingInputError: if there is no such file.
            DataError: if it is no table, or has no column of sentences.
        """
        table = self._table
        if table is None:
            if self.path is not None:
                refuse_missing(self.path)
            return ["text"]
        table.text_column(self.text_column)
        return list(table.columns)

    def arrow_only(self) -> Mapping[str, pa.DataType]:
        """Columns of which only Arrow can hold the cells; see `Table`."""
        table = self._table
        return {} if table is None else table.arrow_only

    def windows(self) -> Iterator[Window]:
        """All rows in their order.

        Raises:
            MissingInputError: if there is no such file.
            DataError: for a row that is not like the others; the message has file and line.
        """
        rows, number = self._rows(), 0
        while part := list(islice(rows, WINDOW)):
            yield Window(number, [text for text, _ in part], [cells for _, cells in part])
            number += 1

    @cached_property
    def _table(self) -> Table | None:
        """The table at the path, which is opened once; None for a text."""
        if self.path is None or self.path.suffix.lower() == ".txt":
            return None
        if self.path.suffix.lower() not in FORMATS and not self.path.is_dir():
            raise DataError(f"{self.path}: expected a file that ends in .txt, {', '.join(FORMATS)}")
        return open_table(self.path)

    def _rows(self) -> Iterator[tuple[str, Sequence[Cell]]]:
        table = self._table
        if table is None:
            for line in self._lines():
                if text := line.strip():
                    yield text, [text]
            return
        column = table.text_column(self.text_column)
        place = table.columns.index(column)
        for record in table.read_all():
            yield sentence(record._replace(cells=[record.cells[place]]), column), record.cells

    def _lines(self) -> Iterator[str]:
        if self.path is not None:
            yield from (line for _, line in file_lines(self.path))
        elif self.stream is not None:
            yield from (line for _, line in lines(self.stream, "standard input"))
        else:
            yield from self.texts
