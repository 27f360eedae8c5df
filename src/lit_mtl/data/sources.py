"""Finds out which task learns from which file."""

from collections.abc import Mapping
from pathlib import Path

from lit_mtl.data.readers import TABLE_SUFFIXES, find_column, label_files, table_columns
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from lit_mtl.tasks.base import Task
from lit_mtl.tasks.classification import Classification


def target_columns(name: str, task: Task) -> tuple[str, ...]:
    """Columns that may hold a task's targets: its own name, then the usual name of its kind."""
    return (name, *task.target_columns)


def find_sources(path: Path, tasks: Mapping[str, Task]) -> dict[str, Path]:
    """Which of the declared tasks find their targets at a path.

    A folder may hold `<label>.txt` files, for the classification task, and tables named `scores`
    or like a task. A table serves each task for which it has a column. A declared task for which
    nothing is found is left out: two files of sentences are enough to train one task.

    Args:
        path: a folder or a CSV or TSV file.
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
    sources: dict[str, Path] = {}
    if path.is_dir() and label_files(path):
        names = [name for name, task in tasks.items() if isinstance(task, Classification)]
        if len(names) > 1:
            raise ConfigError(
                f"{path} holds label files, which fit the tasks {' and '.join(names)}: say with "
                "`data.files` which task learns from which path"
            )
        sources = dict.fromkeys(names, path)
    for table in _tables(path, tasks):
        header = table_columns(table)
        for name, task in tasks.items():
            if name not in sources and find_column(header, target_columns(name, task)):
                sources[name] = table
    _refuse_shared_columns(sources, tasks)
    if not sources:
        wanted = "; ".join(
            f"{name}: {' or '.join(target_columns(name, task))}" for name, task in tasks.items()
        )
        raise DataError(
            f"{path}: expected <label>.txt files such as positive.txt and negative.txt, or a .tsv "
            f"or .csv table with a text column and a column for a task ({wanted}); found neither"
        )
    return sources


def _tables(path: Path, tasks: Mapping[str, Task]) -> list[Path]:
    if path.is_file():
        return [path]
    stems = {"scores", *tasks}
    return sorted(
        file for file in path.iterdir() if file.suffix in TABLE_SUFFIXES and file.stem in stems
    )


def _refuse_shared_columns(sources: Mapping[str, Path], tasks: Mapping[str, Task]) -> None:
    """Two tasks must not silently learn from the same column of one table."""
    taken: dict[tuple[Path, str], str] = {}
    for name, source in sources.items():
        if source.is_dir():
            continue
        column = find_column(table_columns(source), target_columns(name, tasks[name]))
        assert column is not None
        other = taken.setdefault((source, column), name)
        if other != name:
            raise ConfigError(
                f"{source}: the column {column!r} fits the tasks {other!r} and {name!r}: name the "
                "columns like the tasks, or say with `data.files` what each learns from"
            )
