"""A folder with one `<label>.txt` a class, one sentence a line, as a table."""

import filecmp
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from lit_mtl.data.readers import file_lines, refuse_missing, visible_files
from lit_mtl.data.table import Record, Table
from lit_mtl.errors import DataError, MissingInputError

LABEL = "label"
"""The column of the names of the files."""

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
        MissingInputError: if there is no folder, or one of the files is none.
        DataError: if there are fewer than two classes, or one file for two of them; and in reading,
            if one is without a sentence.
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

    _refuse_same_content(files)

    def read(wanted: Sequence[str]) -> Iterator[Record]:
        for label, paths in files.items():
            empty = True
            for path in paths:
                for number, line in file_lines(path):
                    text = line.strip()
                    empty = empty and not text
                    cells = {"text": text, LABEL: label}
                    yield Record(path, number, [cells[name] for name in wanted])
            if empty:
                raise DataError(f"{paths[0]}: expected one sentence a line; found an empty file")

    return Table(
        path=folder,
        columns=("text", LABEL),
        read=read,
        files=tuple(path for paths in files.values() for path in paths),
        is_label_folder=True,
    )


def _refuse_same_content(files: Mapping[str, Sequence[Path]]) -> None:
    """One file under two labels, as a link or a copy, would contradict itself in every line."""
    by_size: dict[int, list[tuple[str, Path]]] = {}
    for label, paths in files.items():
        for path in paths:
            refuse_missing(path)
            by_size.setdefault(path.stat().st_size, []).append((label, path))
    by_size.pop(0, None)  # an empty file is refused for being empty
    for alike in by_size.values():
        for (label, path), (other, twin) in combinations(alike, 2):
            if label != other and filecmp.cmp(path, twin, shallow=False):
                raise DataError(
                    f"{twin}: expected other sentences under {other} than under {label}; found the "
                    f"same content as in {path}"
                )
