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
from statistics import mode
from typing import Literal

from lit_mtl.data.readers import Row, read_label_folder
from lit_mtl.data.sources import target_columns
from lit_mtl.data.tables import FORMATS, is_table, read_table
from lit_mtl.errors import ConfigError, DataError
from lit_mtl.tasks.base import Target, Task

Contradictions = Literal["error", "drop", "keep"]
"""What becomes of a sentence that has several labels for one task."""

Reason = Literal["blank", "without a target", "repeated", "contradictory"]
REASONS: tuple[Reason, ...] = ("blank", "without a target", "repeated", "contradictory")
"""Why a row gives no target of its own."""

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
    targets: dict[str, Target] = field(default_factory=dict)


@dataclass(frozen=True)
class Contradiction:
    """A sentence with several labels for one task.

    Args:
        task: the task.
        labels: `file:line` and label of each of its rows.
    """

    task: str
    labels: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Who says what."""
        return "; ".join(f"{where} says {label}" for where, label in self.labels)

    def error(self) -> DataError:
        """The refusal of the data."""
        return DataError(
            f"{self.labels[-1][0]}: expected one label a sentence for the task {self.task!r}; found "
            f"several: {self}. `data.contradictions` may be drop or keep"
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What became of the rows of one task.

    Args:
        read: rows read.
        dropped: `file:line` of the rows that give no target of their own, by reason. A repeated
            sentence counts once; `Task.merge` makes one target of its rows.
        contradictions: the sentences with several labels.
    """

    read: int
    dropped: dict[Reason, list[str]]
    contradictions: list[Contradiction]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All examples of a run.

    Args:
        tasks: the tasks that have rows, with labels resolved and units measured.
        splits: examples by split, in the order of the files.
        readings: what became of the rows, by task.
    """

    tasks: dict[str, Task]
    splits: dict[Split, list[Example]]
    readings: dict[str, Reading]

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
    contradictions: Contradictions = "error",
) -> Corpus:
    """Read, join and split all files.

    Args:
        sources: task name to a folder of label files or a table.
        tasks: the declared tasks by name.
        val_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        contradictions: what becomes of a sentence that has several labels for one task.

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
    readings = {}
    for name, source in sources.items():
        rows = _rows(name, tasks[name], source)
        dropped: dict[Reason, list[str]] = {reason: [] for reason in REASONS}
        labelled = []
        for row in rows:
            if not row.text:
                dropped["blank"].append(row.where)
            elif row.target is None:
                dropped["without a target"].append(row.where)
            else:
                labelled.append(row)
        resolved[name] = _resolve(name, tasks[name], source, [row.target or "" for row in labelled])
        readings[name] = Reading(read=len(rows), dropped=dropped, contradictions=[])
        _join(joined, name, resolved[name], labelled, readings[name], contradictions)
    splits: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    for key, example in joined.items():
        if not example.targets:
            continue  # its labels contradicted each other
        split = split_of(key, val_fraction=val_fraction, test_fraction=test_fraction)
        splits[split].append(example)
    train = splits["train"]
    return Corpus(
        tasks={name: _fit(name, task, sources[name], train) for name, task in resolved.items()},
        splits=splits,
        readings=readings,
    )


def _rows(name: str, task: Task, source: Path) -> list[Row]:
    if is_table(source):
        return list(read_table(source, target_columns=target_columns(name, task)))
    if not task.reads_label_files:
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


def _fit(name: str, task: Task, source: Path, train: Sequence[Example]) -> Task:
    """A task with what is measured on its training rows."""
    try:
        return task.fit([row.targets[name] for row in train if name in row.targets])
    except ConfigError as error:
        raise DataError(f"{source}: {error} (task {name!r})") from error


def _join(
    joined: dict[str, Example],
    name: str,
    task: Task,
    rows: Sequence[Row],
    reading: Reading,
    contradictions: Contradictions,
) -> None:
    """Add one task's rows to the examples, and to its reading what became of them."""
    found: dict[str, list[tuple[Target, str]]] = {}
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
        values, places = zip(*targets, strict=True)
        merged: Target | None = task.merge(values)
        if merged is None:
            labels = [(where, task.describe(value)) for value, where in targets]
            contradiction = Contradiction(name, tuple(labels))
            if contradictions == "error":
                raise contradiction.error()
            reading.contradictions.append(contradiction)
            if contradictions == "drop":
                reading.dropped["contradictory"] += places
                continue
            merged = mode(values)  # the first read of the most frequent ones
        joined[key].targets[name] = merged
        reading.dropped["repeated"] += places[1:]
