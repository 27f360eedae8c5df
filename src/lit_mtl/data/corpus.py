"""Joins the rows of all files by text and splits them.

One sentence carries as many targets as the files give it; a missing target stays missing.
"""

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Literal

from lit_mtl.data.readers import Row, read_label_folder
from lit_mtl.data.sources import target_columns
from lit_mtl.data.tables import FORMATS, is_table, read_table
from lit_mtl.errors import ConfigError, DataError
from lit_mtl.tasks.base import Task
from lit_mtl.tasks.classification import Classification

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(slots=True)
class Example:
    """One sentence with its targets.

    Args:
        text: the sentence as first read.
        where: `file:line` of its first occurrence.
        targets: encoded target by task; a task that is missing here has no target.
    """

    text: str
    where: str
    targets: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All examples of a run.

    Args:
        tasks: the tasks that have rows, with labels resolved and units measured.
        splits: examples by split, in the order of the files.
        read: rows read, by task.
        unlabelled: rows without a target, by task.
        repeated: rows whose text occurred before for the same task, by task.
    """

    tasks: dict[str, Task]
    splits: dict[Split, list[Example]]
    read: dict[str, int]
    unlabelled: dict[str, int]
    repeated: dict[str, int]

    def labelled(self, split: Split, task: str) -> int:
        """Examples of a split that have a target for a task."""
        return sum(task in example.targets for example in self.splits[split])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all texts and targets in their order, split by split."""
        digest = hashlib.sha256()
        for split in SPLITS:
            for example in self.splits[split]:
                targets = sorted(example.targets.items())
                row = json.dumps([split, example.text, targets])  # escapes lone surrogates
                digest.update(row.encode())
        return digest.hexdigest()


def text_key(text: str) -> str:
    """What counts as the same sentence: NFC, without regard to the amount of white space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def split_of(key: str, *, val_fraction: float, test_fraction: float) -> Split:
    """The split of a sentence: a function of its `text_key` alone, without regard to case.

    So the same sentence never stands in two splits, and new rows do not move old ones.
    """
    digest = hashlib.sha256(key.casefold().encode("utf-8", "surrogatepass")).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < test_fraction:
        return "test"
    return "val" if position < test_fraction + val_fraction else "train"


def build_corpus(
    sources: Mapping[str, Path],
    *,
    tasks: Mapping[str, Task],
    val_fraction: float,
    test_fraction: float,
) -> Corpus:
    """Read, join and split all files.

    Args:
        sources: task name to a folder of label files or a table.
        tasks: the declared tasks by name.
        val_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.

    Raises:
        DataError: for whatever is wrong in a file, with file and line.
        ConfigError: if the fractions leave nothing to train on.
    """
    if not (val_fraction >= 0 and test_fraction >= 0 and val_fraction + test_fraction < 1):
        raise ConfigError(
            "Expected `val_fraction` and `test_fraction` to be at least 0 and to leave something "
            f"to train on, but got {val_fraction} and {test_fraction}"
        )
    joined: dict[str, Example] = {}
    resolved: dict[str, Task] = {}
    read, unlabelled, repeated = {}, {}, {}
    for name, source in sources.items():
        rows = _rows(name, tasks[name], source)
        labelled = [row for row in rows if row.target is not None]
        resolved[name] = _resolve(name, tasks[name], source, [row.target or "" for row in labelled])
        distinct = _join(joined, name, resolved[name], labelled)
        read[name] = len(rows)
        unlabelled[name] = len(rows) - len(labelled)
        repeated[name] = len(labelled) - distinct
    splits: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    for key, example in joined.items():
        split = split_of(key, val_fraction=val_fraction, test_fraction=test_fraction)
        splits[split].append(example)
    train = splits["train"]
    return Corpus(
        tasks={
            name: task.fit([row.targets[name] for row in train if name in row.targets])
            for name, task in resolved.items()
        },
        splits=splits,
        read=read,
        unlabelled=unlabelled,
        repeated=repeated,
    )


def _rows(name: str, task: Task, source: Path) -> list[Row]:
    if is_table(source):
        return list(read_table(source, target_columns=target_columns(name, task)))
    if not isinstance(task, Classification):
        raise DataError(
            f"{source}: expected a table ({', '.join(FORMATS)}) for the {task.kind} task {name!r}; "
            "found a folder"
        )
    return list(read_label_folder(source))


def _resolve(name: str, task: Task, source: Path, targets: Sequence[str]) -> Task:
    """A task with what its files say; they have to say something."""
    if not targets:
        raise DataError(f"{source}: expected targets for the task {name!r}; found none")
    try:
        return task.resolve(targets)
    except ConfigError as error:
        raise DataError(f"{source}: {error} (task {name!r})") from error


def _join(joined: dict[str, Example], name: str, task: Task, rows: Sequence[Row]) -> int:
    """Add one task's rows to the examples; return how many distinct sentences they hold."""
    found: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        assert row.target is not None
        try:
            target = task.encode(row.target)
        except ValueError as error:
            raise DataError(f"{row.where}: {error} (task {name!r})") from error
        key = text_key(row.text)
        joined.setdefault(key, Example(row.text, row.where))
        found.setdefault(key, []).append((target, row.where))
    for key, targets in found.items():
        joined[key].targets[name] = _agreed(name, task, targets)
    return len(found)


def _agreed(name: str, task: Task, targets: Sequence[tuple[float, str]]) -> float:
    """One target out of those of a repeated sentence: the mean score, or the label of all."""
    values = [target for target, _ in targets]
    if not isinstance(task, Classification):
        return fmean(values)
    if len(set(values)) > 1:
        said = "; ".join(f"{where} says {task.names[int(value)]}" for value, where in targets)
        raise DataError(
            f"{targets[-1][1]}: expected one label a sentence for the task {name!r}; found "
            f"several: {said}"
        )
    return values[0]
