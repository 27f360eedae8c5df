"""What a table is: named columns, and for each row where it stands and the cells that are asked for.

Rows are read one after the other, so a table may be larger than memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from lit_mtl.data.table_cells import Cell, Verbatim
from lit_mtl.errors import DataError

TEXT_COLUMNS = ("text", "sentence")
"""Names of the column that holds the sentence; the first one found is taken."""


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
