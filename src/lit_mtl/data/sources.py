"""Finds out which file serves which task: from what a config names, and from the files themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lit_mtl.data.dataset_tables import HUB, open_hub_dataset
from lit_mtl.data.downloads import CORPORA, DOCUMENT, OF_DOCUMENTS, CorpusName
from lit_mtl.data.label_folder import LABEL, label_files, open_label_folder
from lit_mtl.data.split_list import SplitList, open_split_list
from lit_mtl.data.splits import Split, split_of_name
from lit_mtl.data.table import Table
from lit_mtl.data.tables import FORMATS, is_table, open_table, saved_datasets, tables
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from lit_mtl.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files that belong together, and what is learned from them.

    Args:
        path: a folder of `<label>.txt` files, tables, or both; a table; a saved Hugging Face dataset;
            or `hub:<name>`, a dataset of the hub. Datasets with the parts train, validation and test
            are split so. None: `data/<corpus>`.
        corpus: a rated corpus to fetch into `path` if it is not there yet.
        tasks: task name to the column of its targets; `label` for the names of text files. None:
            the tasks for which there is a column of their name, or of the usual name of their kind.
        text: the column of the sentences. None: `text` or `sentence`.
        val_path: files of the validation split, like `path`. None: rows of `path`.
        test_path: files of the test split, like `path`. None: rows of `path`.
        split: column that says in which split a row is. None: a hash of the text says.
        split_list: a table with the columns `text` and `split`, or the folder of the Stanford Sentiment
            Treebank, that says in which split each sentence is; others are left out. See `split_list`.
        group: column of what must not be torn by the split by hash, such as a document's number; a
            folder of text files takes it from the tables beside them, also from one of which no task
            learns. None: the documents of a corpus that has them.
        weight: how often rows of this source are drawn; see `data.mixing`.
    """

    path: str | None = None
    corpus: CorpusName | None = None
    tasks: dict[str, str] | None = None
    text: str | None = None
    val_path: str | None = None
    test_path: str | None = None
    split: str | None = None
    split_list: str | None = None
    group: str | None = None
    weight: float = 1.0

    @property
    def place(self) -> str:
        """Its own path, given or that of its corpus."""
        if self.path is not None:
            return self.path
        assert self.corpus is not None, "the source was checked"
        return f"data/{self.corpus}"

    @property
    def grouping(self) -> str | None:
        """The column of its groups, given or that of its corpus."""
        return DOCUMENT if self.group is None and self.corpus in OF_DOCUMENTS else self.group

    def paths(self) -> dict[Split | None, str]:
        """Its paths by the split that they are for; None for that which is split here."""
        given: dict[Split | None, str | None] = {
            None: self.place,
            "val": self.val_path,
            "test": self.test_path,
        }
        return {split: path for split, path in given.items() if path is not None}

    def reads(self) -> list[str]:
        """All that is read for it: its paths, and the list of its splits."""
        return [*self.paths().values(), *filter(None, [self.split_list])]


def refuse_wrong_sources(sources: Mapping[str, Source]) -> None:
    """Check the settings of sources before anything is fetched or read.

    They are not checked where a source is made, since the command line would hide the message.

    Raises:
        ConfigError: naming the source.
    """
    for name, source in sources.items():
        where = f"the source {name!r}"
        if not isinstance(source, Source):
            raise ConfigError(f"Expected {where} to be a Source, but got {source!r}")
        if source.path is None and source.corpus is None:
            raise ConfigError(f"Expected {where} to have a `path` or a `corpus`, but got neither")
        if source.corpus not in (None, *CORPORA):
            raise ConfigError(
                f"Expected the `corpus` of {where} to be one of {', '.join(CORPORA)}, but got "
                f"{source.corpus!r}"
            )
        if source.corpus is not None and source.place.startswith(HUB):
            raise ConfigError(
                f"Expected the `path` of {where} to be a folder for the corpus {source.corpus}, but "
                f"got {source.path!r}"
            )
        others = [name for name in ("split", "val_path", "test_path") if getattr(source, name)]
        if source.split_list is not None and others:
            raise ConfigError(
                f"Expected {where} to have its splits from one place, but got `split_list` and "
                f"`{others[0]}`"
            )
        if not source.weight >= 0:
            raise ConfigError(
                f"Expected the `weight` of {where} to be at least 0, but got {source.weight}"
            )


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A table with what is read from it.

    Args:
        source: name of its source.
        table: the table.
        text: column of the sentences.
        columns: task name to the column of its targets; empty where only the groups are read.
        split: the split of all its rows, where its path says so.
        split_column: column that says it for each row.
        split_list: a list that says it for each sentence.
        group_column: column of the rows' groups.
    """

    source: str
    table: Table
    text: str
    columns: dict[str, str]
    split: Split | None = None
    split_column: str | None = None
    split_list: SplitList | None = None
    group_column: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read for it."""
        return self.table.files + (() if self.split_list is None else self.split_list.files)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What there is to read.

    Args:
        feeds: the tables to read, in their order.
        unused: tables that are not read.
    """

    feeds: list[Feed]
    unused: list[Path]

    def paths(self, task: str) -> list[Path]:
        """Where a task's targets come from."""
        return [feed.table.path for feed in self.feeds if task in feed.columns]


def target_columns(name: str, task: Task) -> tuple[str, ...]:
    """Columns that may hold a task's targets: its own name, then the usual names of its kind."""
    return tuple(dict.fromkeys((name, *task.target_columns)))


def find_sources(sources: Mapping[str, Source], tasks: Mapping[str, Task]) -> Findings:
    """Which tables of the sources serve which of the declared tasks.

    A declared task for which nothing is found is left out: two files of sentences are enough to
    train one task.

    Args:
        sources: the sources by name, checked by `refuse_wrong_sources`.
        tasks: the declared tasks by name.

    Raises:
        MissingInputError: if a path does not exist.
        ConfigError: if a find fits several tasks or a task several finds; the source's `tasks` then
            has to name them. If parts of a dataset are splits already, and an option says others.
        DataError: if nothing is found at all, or a list of splits is none.
    """
    feeds: list[Feed] = []
    unused: list[Path] = []
    for name, source in sources.items():
        _refuse_unknown_tasks(name, source, tasks)
        listed = _split_list(source)
        for split, path in source.paths().items():
            opened = _opened(path, split, tasks, source)
            found = _feeds(name, source, path, opened, tasks)
            if not found:
                raise _nothing_found(path, tasks)
            found += _groups_beside(name, source, opened, found)
            told = [option for option in ("split", "split_list") if getattr(source, option)]
            if told and split is None and any(feed.split for feed in found):
                raise ConfigError(
                    f"Expected the source {name!r} to have its splits from one place, but got "
                    f"`{told[0]}`, and parts of {path} that are splits"
                )
            found = [replace(feed, split_list=listed) for feed in found]
            read = {path for feed in found for path in (feed.table.path, *feed.files)}
            feeds += found
            unused += [table.path for table, _ in opened if table.path not in read]
    return Findings(feeds=feeds, unused=unused)


def _refuse_unknown_tasks(name: str, source: Source, tasks: Mapping[str, Task]) -> None:
    unknown = sorted(set(source.tasks or ()) - set(tasks))
    if unknown:
        raise ConfigError(
            f"Expected the `tasks` of the source {name!r} to be out of {sorted(tasks)}, but got "
            f"{unknown}"
        )


def _split_list(source: Source) -> SplitList | None:
    return open_split_list(Path(source.split_list).expanduser()) if source.split_list else None


def _opened(
    path: str, split: Split | None, tasks: Mapping[str, Task], source: Source
) -> list[tuple[Table, Split | None]]:
    """The tables at a path, each with the split that its rows are all in, if any."""
    if path.startswith(HUB):
        return [(table, split or part) for table, part in _parts(open_hub_dataset(path), path)]
    folder = Path(path).expanduser()
    if not folder.exists():
        raise MissingInputError(f"{folder}: expected a folder or a table, found nothing")
    if parts := saved_datasets(folder):
        return [(table, split or part) for table, part in _parts(parts, path)]
    opened = [(open_table(table), split) for table in tables(folder)]
    labels = {} if is_table(folder) else label_files(folder)
    # a single text beside a table of labels is a note
    is_note = len(labels) == 1 and any(LABEL in table.columns for table, _ in opened)
    if labels and not is_note and _learn_labels(tasks, source):
        opened.insert(0, (open_label_folder(folder), split))
    return opened


def _parts(parts: Mapping[str, Table], path: str) -> list[tuple[Table, Split | None]]:
    """The parts of a dataset with the splits that their names mean; one alone is split here."""
    if len(parts) == 1:
        return [(table, None) for table in parts.values()]
    found: list[tuple[Table, Split | None]] = []
    for name, table in parts.items():
        split = split_of_name(name)
        if split is None:
            raise DataError(
                f"{path}: expected one dataset, or the parts train, validation and test; found "
                f"several, name one of them: {', '.join(str(t.path) for t in parts.values())}"
            )
        found.append((table, split))
    return found


def _learn_labels(tasks: Mapping[str, Task], source: Source) -> bool:
    """Whether any task could learn from the names of label files."""
    if source.tasks is not None:
        return LABEL in source.tasks.values()
    return any(task.reads_label_files for task in tasks.values())


def _feeds(
    name: str,
    source: Source,
    path: str,
    opened: Iterable[tuple[Table, Split | None]],
    tasks: Mapping[str, Task],
) -> list[Feed]:
    feeds = []
    served: dict[tuple[str, Split | None], Path] = {}
    found: dict[str, None] = {}
    for table, split in opened:
        columns = _columns(source, table, tasks)
        found |= dict.fromkeys(table.columns)
        for task in columns:
            if (task, split) in served:
                raise ConfigError(
                    f"{served[task, split]} and {table.path} both have targets for the task "
                    f"{task!r}: say with `data.sources` which one it learns from"
                )
            served[task, split] = table.path
        if columns:
            feeds.append(_feed(name, source, table, split, columns))
    if feeds and source.text is not None and source.text not in found:
        raise DataError(
            f"{path}: expected the column of sentences {source.text!r}; found the columns "
            f"{', '.join(found)}"
        )
    missing = sorted(set(source.tasks or ()) - {task for task, _ in served})
    if missing:
        wanted = [
            f"{column} for {task}"
            for task, column in (source.tasks or {}).items()
            if task in missing
        ]
        raise DataError(
            f"{path}: expected the columns {', '.join(wanted)}; found the columns {', '.join(found) or 'none'}"
        )
    return feeds


def _feed(
    name: str, source: Source, table: Table, split: Split | None, columns: dict[str, str]
) -> Feed:
    return Feed(
        source=name,
        table=table,
        # text files have a column of their own, whatever the tables beside them call theirs
        text=table.text_column(None if table.is_label_folder else source.text),
        columns=columns,
        split=split,
        split_column=None if split else _named(table, source.split, "split"),
        group_column=None if _is_held_out(split) else _group_column(table, source),
    )


def _columns(source: Source, table: Table, tasks: Mapping[str, Task]) -> dict[str, str]:
    """The tasks that a table serves, each with its column; never one column for two by chance."""
    if source.tasks is not None:
        return {task: name for task, name in source.tasks.items() if name in table.columns}
    found: dict[str, str] = {}
    for name, task in tasks.items():
        if table.is_label_folder:
            column = LABEL if task.reads_label_files else None
        else:
            column = table.column(target_columns(name, task))
        if column is None:
            continue
        other = next((known for known, taken in found.items() if taken == column), None)
        if other is not None:
            raise ConfigError(
                f"{table.path}: the tasks {other!r} and {name!r} would both learn from the column "
                f"{column!r}; name the columns like the tasks, or say with `data.sources` which task "
                "learns from which column"
            )
        found[name] = column
    return found


def _named(table: Table, column: str | None, what: str) -> str | None:
    """A column that the source names, which each of its tables must have."""
    if column is not None and column not in table.columns:
        raise DataError(
            f"{table.path}:1: expected the {what} column {column!r}; found the columns "
            f"{', '.join(table.columns)}"
        )
    return column


def _is_held_out(split: Split | None) -> bool:
    """Whether no row can go elsewhere; rows for training may still be held out by their groups."""
    return split in ("val", "test")


def _group_column(table: Table, source: Source) -> str | None:
    return None if table.is_label_folder else _named(table, source.grouping, "group")


def _groups_beside(
    name: str, source: Source, opened: Iterable[tuple[Table, Split | None]], feeds: Sequence[Feed]
) -> list[Feed]:
    """The tables that say the groups of text files, where none of those that are learned from does."""
    asking = [feed for feed in feeds if not _is_held_out(feed.split)]
    if not source.grouping or not asking or not all(feed.table.is_label_folder for feed in asking):
        return []
    found = [
        _feed(name, source, table, split, {})
        for table, split in opened
        if source.grouping in table.columns and table.sentences(source.text) is not None
    ]
    if not found:
        raise DataError(
            f"{source.place}: expected a table with the group column {source.grouping!r} and the "
            "sentences beside the text files; found none"
        )
    return found


def _nothing_found(path: str, tasks: Mapping[str, Task]) -> DataError:
    wanted = "; ".join(
        f"{name}: {' or '.join(target_columns(name, task))}" for name, task in tasks.items()
    )
    return DataError(
        f"{path}: expected <label>.txt files such as positive.txt and negative.txt, or a table "
        f"({', '.join(FORMATS)}) with a text column and a column for a task ({wanted}); found "
        "neither"
    )
