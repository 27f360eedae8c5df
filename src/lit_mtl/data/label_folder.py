"""A folder with one `<label>.txt` a class, one sentence a line, as a table."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lit_mtl.data.readers import file_lines, visible_files
from lit_mtl.data.tables import Record, Table
from lit_mtl.errors import DataError, MissingInputError

_ALIASES = {
    alias: label for label in ("positive", "negative") for alias in (label, f"{label}s", label[:3])
}


def label_files(folder: Path) -> dict[str, list[Path]]:
    """The `<label>.txt` files of a folder by label, sorted.

    `pos`, `positives`, `neg` and `negatives` are understood, in any case.
    """
    found: dict[str, list[Path]] = {}
    for path in visible_files(folder, [".txt"]):
        label = _ALIASES.get(path.stem.lower(), path.stem)
        found.setdefault(label, []).append(path)
    return found


def open_label_folder(folder: Path) -> Table:
    """The table of a folder's sentences, with the columns `text` and `label`.

    Raises:
        MissingInputError: if there is no folder.
        DataError: if there are fewer than two classes; and in reading, one without a sentence.
    """
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: expected a folder with one <label>.txt a class")
    files = label_files(folder)
    if len(files) < 2:
        found = ", ".join(str(path.name) for paths in files.values() for path in paths) or "none"
        raise DataError(
            f"{folder}: expected two or more <label>.txt files, such as positive.txt and "
            f"negative.txt; found {found}"
        )

    def read(wanted: Sequence[str]) -> Iterator[Record]:
        for label, paths in files.items():
            empty = True
            for path in paths:
                for number, line in file_lines(path):
                    text = line.strip()
                    empty = empty and not text
                    cells = {"text": text, "label": label}
                    yield Record(path, number, [cells[name] for name in wanted])
            if empty:
                raise DataError(f"{paths[0]}: expected one sentence a line; found an empty file")

    return Table(path=folder, columns=("text", "label"), read=read)
