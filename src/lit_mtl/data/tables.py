"""Opens files and folders as tables: CSV, TSV, JSON lines, Parquet, saved Hugging Face datasets.

All formats give the same: named columns, and for each row where it stands and the cells that are
asked for.
"""

from collections.abc import Callable
from pathlib import Path

from lit_mtl.data.arrow_tables import open_parquet
from lit_mtl.data.dataset_tables import is_saved_dataset, is_saved_parts, open_saved_dataset
from lit_mtl.data.json_lines import open_json_lines
from lit_mtl.data.readers import files_below, visible_files
from lit_mtl.data.separated_tables import open_csv, open_tsv
from lit_mtl.data.table import Table
from lit_mtl.errors import DataError

FORMATS: dict[str, Callable[[Path], Table]] = {
    ".tsv": open_tsv,
    ".csv": open_csv,
    ".jsonl": open_json_lines,
    ".ndjson": open_json_lines,
    ".parquet": open_parquet,
}
"""How a table is opened, by the end of its name."""


def is_table(path: Path) -> bool:
    """Whether a path is read as a table: a file or a saved dataset, and not a folder of files."""
    return not path.is_dir() or is_saved_dataset(path)


def tables(path: Path) -> list[Path]:
    """The tables at a path: itself, or those of a folder."""
    return [path] if is_table(path) else visible_files(path, FORMATS)


def files_of(path: Path) -> list[Path]:
    """The files that can be read at a path: itself, a saved dataset's, or texts and tables of a folder.

    Whatever else is in a folder, or in folders below it, decides about nothing.
    """
    if path.is_dir() and not (is_saved_dataset(path) or is_saved_parts(path)):
        return visible_files(path, (".txt", *FORMATS))
    return list(files_below(path))


def open_table(path: Path) -> Table:
    """Find out a table's columns.

    Raises:
        MissingInputError: if there is nothing.
        DataError: if it is no table, or two columns have one name.
    """
    opener = open_saved_dataset if path.is_dir() else FORMATS.get(path.suffix.lower())
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


def saved_datasets(path: Path) -> dict[str, Table]:
    """The parts of what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` has written, by name.

    A single dataset is one part without a name; there is none where something else lies.
    """
    if is_saved_parts(path):
        folders = sorted(folder for folder in path.iterdir() if is_saved_dataset(folder))
        return {folder.name: open_table(folder) for folder in folders}
    return {"": open_table(path)} if is_saved_dataset(path) else {}
