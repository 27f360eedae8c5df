"""What lies at a path: which tables, which column has the sentences, and what the others could teach."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lit_mtl.data.dataset_tables import HUB
from lit_mtl.data.inspection import Guess, guess, guess_named, is_split_column, look_at, text_column
from lit_mtl.data.label_folder import LABEL, label_files, open_label_folder
from lit_mtl.data.sources import Source
from lit_mtl.data.splits import Split, split_of_name
from lit_mtl.data.tables import is_table, open_table, saved_datasets, tables
from lit_mtl.errors import DataError, MissingInputError

_NULL = ("null", "Null", "NULL", "~")
"""What YAML takes for nothing."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found at a path.

    Args:
        source: the source as a config names it.
        tasks: the fields of each task by name.
        notes: task name, or column without one, to what was seen there.
        left_out: name of each part that is not read, and why.
    """

    source: Source
    tasks: dict[str, dict[str, Any]]
    notes: dict[str, str]
    left_out: dict[str, str]


def inspect(path: str) -> Findings:
    """Look at all columns of all tables at a path.

    Raises:
        MissingInputError: if there is nothing.
        DataError: if nothing there could be learned.
    """
    folder = _there(path)
    columns: dict[str, str] = {}
    tasks: dict[str, dict[str, Any]] = {}
    notes: dict[str, str] = {}
    found: dict[str, Any] = {"text": None, "split": None}
    parts, left_out = _parts(folder)
    if parts:
        path = str(parts.pop("train"))
    elif not is_table(folder) and len(label_files(folder)) > 1:
        seen = guess_named(look_at(open_label_folder(folder))[LABEL])
        _add(_label_name(folder), LABEL, seen, columns, tasks, notes)
    files = [Path(path)] if parts or left_out else tables(Path(path).expanduser())
    for file in files:
        _look_into(file, found, columns, tasks, notes)
    _refuse_unlike(files, found)
    _refuse_null(files[0] if files else folder, found)
    if not tasks:
        seen_columns = "; ".join(f"{name}: {why}" for name, why in notes.items()) or "no table"
        raise DataError(
            f"{path}: expected <label>.txt files, or a table with a column to learn from; found "
            f"{seen_columns}"
        )
    for split, part in parts.items():
        if why := _unlabelled(part, columns):
            left_out[part.name] = why
        else:
            found[f"{split}_path"] = str(part)
    source = Source(path=path, tasks=columns, **found)
    return Findings(source=source, tasks=tasks, notes=notes, left_out=left_out)


def _there(path: str) -> Path:
    """The path of files that are on this machine.

    Raises:
        MissingInputError: if there is nothing.
    """
    if path.startswith(HUB):
        raise MissingInputError(
            f"{path}: expected files on this machine; found the name of a dataset of the hub. Name a "
            "folder where its save_to_disk has written it"
        )
    folder = Path(path).expanduser()
    if not folder.exists():
        raise MissingInputError(f"{folder}: expected a folder or a table, found nothing")
    return folder


def _parts(folder: Path) -> tuple[dict[Split, Path], dict[str, str]]:
    """The tables of a folder that are its splits, one to train on among them, and those left out.

    A folder of files has parts only if all its tables are named by the splits.

    Raises:
        DataError: if there is none to train on in a saved dataset, or several for one split.
    """
    if is_table(folder):
        return {}, {}
    saved = [table.path for table in saved_datasets(folder).values()]
    if len(saved) == 1:
        return {"train": saved[0]}, {}
    files = saved or tables(folder)
    splits = [(split_of_name(file.stem), file) for file in files]
    parts = {split: file for split, file in splits if split is not None}
    others = [file.name for split, file in splits if split is None]
    if "train" in parts and len(parts) + len(others) == len(files) > 1 and (saved or not others):
        return parts, dict.fromkeys(others, "its name is that of no split")
    if saved:
        raise DataError(
            f"{folder}: expected a part named train, and one at most for each other split; found "
            f"{', '.join(file.name for file in files)}. Name one of them: {files[0]}"
        )
    return {}, {}


def _unlabelled(part: Path, columns: Mapping[str, str]) -> str | None:
    """Why a held-out part cannot be measured on, as the test split of a competition; else None."""
    facts = look_at(open_table(part))
    for column in columns.values():
        if column not in facts:
            return f"it has no column {column!r}"
    if not any(facts[column].filled for column in columns.values()):
        return f"it has nothing under {', '.join(columns.values())}"
    return None


def _refuse_unlike(files: Sequence[Path], found: dict[str, Any]) -> None:
    """A source has one column of sentences and one of splits for all its tables.

    Raises:
        DataError: naming the first table that has none of them.
    """
    for file in files:
        columns = open_table(file).columns
        for what in ("text", "split"):
            if found[what] is not None and found[what] not in columns:
                raise DataError(
                    f"{file}:1: expected the {what} column {found[what]!r}, as in another table of the "
                    f"folder; found the columns {', '.join(columns)}. Name one table"
                )


def _refuse_null(file: Path, found: dict[str, Any]) -> None:
    """An option that may be left out takes these names, even quoted, for its being left out.

    Raises:
        DataError: naming the column.
    """
    for what in ("text", "split"):
        if found[what] in _NULL:
            raise DataError(
                f"{file}:1: expected another name of the {what} column than {', '.join(_NULL)}, which "
                f"mean nothing in a config; found {found[what]!r}. Rename it"
            )


def _look_into(
    file: Path,
    found: dict[str, Any],
    columns: dict[str, str],
    tasks: dict[str, dict[str, Any]],
    notes: dict[str, str],
) -> None:
    table = open_table(file)
    if len(table.columns) == 1:
        notes[table.columns[0]] = (
            "the only column; cells are separated by tabs in .tsv, by commas or semicolons in .csv"
        )
        return
    facts = look_at(table)
    sentences = text_column(table, facts)
    if table.column(("text", "sentence")) is None:
        found["text"] = sentences
    for column in table.columns:
        if column == sentences:
            continue
        if is_split_column(facts[column]) and found["split"] is None:
            found["split"] = column
            notes[column] = "says the split of each row"
        elif column in columns.values():
            raise DataError(
                f"{file}:1: expected other columns than in the tables before; found {column!r} again. "
                "Name one table, or call them train, val and test"
            )
        else:
            seen = guess(facts[column], column)
            _add(_task_name(column, tasks), column, seen, columns, tasks, notes)


def _add(
    name: str,
    column: str,
    seen: Guess,
    columns: dict[str, str],
    tasks: dict[str, dict[str, Any]],
    notes: dict[str, str],
) -> None:
    if seen.task is None:
        notes[column] = f"not learned, {seen.why}"
        return
    columns[name], tasks[name], notes[name] = column, seen.task, seen.why


def _label_name(folder: Path) -> str:
    return "sentiment" if set(label_files(folder)) <= {"positive", "negative", "neutral"} else LABEL


def _task_name(column: str, tasks: dict[str, dict[str, Any]]) -> str:
    """A column's name as a task may have it."""
    name = re.sub(r"\W+", "_", column).strip("_").lower() or "task"
    if name[0].isdigit() or hasattr(nn.ModuleDict(), name):
        name = f"task_{name}"
    while name in tasks:
        name += "_"
    return name
