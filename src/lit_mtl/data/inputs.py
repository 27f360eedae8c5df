"""Sentences to embed or to predict, with the columns that stand beside them, some rows at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from lit_mtl.data.readers import decode, read_lines, split_lines
from lit_mtl.data.tables import FORMATS, TEXT_COLUMNS, Number, open_table
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
    cells: list[Sequence[str | None]]


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
        if self.path is None or self.path.suffix.lower() == ".txt":
            return ["text"]
        columns = list(open_table(self.path).columns)
        names = TEXT_COLUMNS if self.text_column is None else (self.text_column,)
        if not set(names) & set(columns):
            raise DataError(
                f"{self.path}:1: expected a column named {' or '.join(names)}; "
                f"found the columns {', '.join(columns) or 'none'}"
            )
        return columns

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

    def _rows(self) -> Iterator[tuple[str, Sequence[str | None]]]:
        if self.path is not None and self.path.suffix.lower() != ".txt":
            yield from self._table_rows(self.path)
            return
        for text in self._lines():
            if text.strip():
                yield text.strip(), [text.strip()]

    def _lines(self) -> Iterator[str]:
        if self.path is not None:
            yield from (row.text for row in read_lines(self.path))
        elif self.stream is not None:
            name = "standard input"
            yield from (row.text for row in split_lines(decode(self.stream.read(), name), name))
        else:
            yield from self.texts

    def _table_rows(self, path: Path) -> Iterator[tuple[str, Sequence[str | None]]]:
        columns = self.columns()
        names = TEXT_COLUMNS if self.text_column is None else (self.text_column,)
        column = next(name for name in names if name in columns)
        place = columns.index(column)
        for number, cells in open_table(path).read(columns):
            if isinstance(cells[place], Number):
                raise DataError(
                    f"{path}:{number}: expected a sentence under {column!r}; found {cells[place]}"
                )
            yield (cells[place] or "").strip(), cells


def refuse_unknown(path: Path) -> None:
    """Only texts and tables are read.

    Raises:
        DataError: for a name that ends otherwise.
    """
    if path.suffix.lower() not in (".txt", *FORMATS) and not path.is_dir():
        raise DataError(f"{path}: expected a file that ends in .txt, {', '.join(FORMATS)}")
