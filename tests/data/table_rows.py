"""Rows of tables in tests, as the corpus reads them."""

from pathlib import Path

from lit_mtl.data.table import sentence
from lit_mtl.data.tables import open_table
from lit_mtl.errors import DataError


def read(path: Path, *columns: str) -> list[tuple[str, str | None]]:
    """Sentences and targets as the corpus reads them."""
    table = open_table(path)
    text, target = table.text_column(), table.column(columns or ("score",))
    if target is None:
        raise DataError(f"{path}: no such column")
    rows = [(sentence(record, text), record.cells[1]) for record in table.read([text, target])]
    return [(row, (cell or "").strip() or None) for row, cell in rows if row]
