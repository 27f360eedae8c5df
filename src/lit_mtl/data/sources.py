"""Finds out which task learns from which file."""

from collections.abc import Mapping
from pathlib import Path

from lit_mtl.data.readers import label_files
from lit_mtl.data.tables import FORMATS, is_table, open_table, tables
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from lit_mtl.tasks.base import Task


def target_columns(name: str, task: Task) -> tuple[str, ...]:
    """Columns that may hold a task's targets: its own name, then the usual name of its kind."""
    return tuple(dict.fromkeys((name, *task.target_columns)))


def find_sources(path: Path, tasks: Mapping[str, Task]) -> dict[str, Path]:
    """Which of the declared tasks find their targets at a path.

    A folder may hold `<label>.txt` files, for the task whose targets are labels, and tables. A table serves
    each task for which it has a column. A declared task for which nothing is found is left out: two
    files of sentences are enough to train one task.

    Args:
        path: a folder or a table.
        tasks: the declared tasks by name.

    Returns:
        Task name to a folder of label files or a table.

    Raises:
        MissingInputError: if the path does not exist.
        ConfigError: if a find fits several tasks; `files` then has to name them.
        DataError: if nothing is found at all.
    """
    if not path.exists():
        raise MissingInputError(f"{path}: expected a folder or a table, found nothing")
    sources = _label_folder(path, tasks)
    for table in tables(path):
        opened = open_table(table)
        for name, task in tasks.items():
            if opened.column(target_columns(name, task)):
                if name in sources:
                    raise ConfigError(
                        f"{sources[name]} and {table} both have targets for the task {name!r}: say "
                        "with `data.files` which one it learns from"
                    )
                sources[name] = table
    refuse_shared_columns(sources, tasks)
    if not sources:
        wanted = "; ".join(
            f"{name}: {' or '.join(target_columns(name, task))}" for name, task in tasks.items()
        )
        raise DataError(
            f"{path}: expected <label>.txt files such as positive.txt and negative.txt, or a table "
            f"({', '.join(FORMATS)}) with a text column and a column for a task ({wanted}); found "
            "neither"
        )
    return sources


def _label_folder(path: Path, tasks: Mapping[str, Task]) -> dict[str, Path]:
    """The task that learns from the label files of a folder, if any."""
    if is_table(path) or not label_files(path):
        return {}
    names = [name for name, task in tasks.items() if task.reads_label_files]
    if len(names) > 1:
        raise ConfigError(
            f"{path} holds label files, which fit the tasks {' and '.join(names)}: say with "
            "`data.files` which task learns from which path"
        )
    return dict.fromkeys(names, path)


def refuse_shared_columns(sources: Mapping[str, Path], tasks: Mapping[str, Task]) -> None:
    """Two tasks must not silently learn from the same column of one table."""
    taken: dict[tuple[Path, str], str] = {}
    for name, source in sources.items():
        if not is_table(source):
            continue
        column = open_table(source).column(target_columns(name, tasks[name]))
        if column is None:
            continue  # read_table says so, with the columns that there are
        other = taken.setdefault((source, column), name)
        if other != name:
            raise ConfigError(
                f"{source}: the tasks {other!r} and {name!r} would both learn from the column "
                f"{column!r}: name a column like each of the tasks"
            )
