"""Reads all rows of all sources once, encodes their targets, and deals them into parts.

Rows of large files are dealt by a hash of their text, so that all rows of one sentence are in one
part, and the parts can be joined one after the other in bounded memory.
"""

import hashlib
import marshal
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from lit_mtl.data.corpus import Reading, Reason
from lit_mtl.data.sources import Feed, Findings
from lit_mtl.data.splits import Split, declared_split, position_of, text_key
from lit_mtl.data.table import Record, sentence
from lit_mtl.errors import ConfigError, DataError
from lit_mtl.tasks.base import Target, Task

_PART_BYTES = 2**24
"""Bytes of the files that are joined at once; about ten times as much memory."""

_CHUNK = 2_000
"""Rows of each part that wait in memory to be written."""

_MOST_CELLS = 1_000_000
"""Different targets that are kept while a task does not know its labels or its range."""


class Row(NamedTuple):
    """A row with a sentence and a target or a group, in plain values, as it is dealt into a part.

    Args:
        text: the sentence.
        key: what it is joined by; see `text_key`.
        position: place in [0, 1) of the text or of its group; see `splits`.
        grouped: whether it is that of a group.
        split: the split that its files give it, if they do.
        file: number of the file.
        number: of the line.
        source: number of the source.
        targets: number of the task and target, or number of the cell where labels are not known yet.
            Empty where the row only says the group of its text.
    """

    text: str
    key: str
    position: float
    grouped: bool
    split: Split | None
    file: int
    number: int
    source: int
    targets: tuple[tuple[int, Target], ...]


class Parts:
    """Rows in parts: in memory if there is one part only, else in files of this process' own."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._paths = [folder / str(index) for index in range(number)]
        self._rows: list[list[Row]] = [[] for _ in range(number)]

    def add(self, row: Row, fold: str) -> None:
        """Deal a row by its text without regard to case."""
        part = _part_of(fold, self.number)
        rows = self._rows[part]
        rows.append(row)
        if len(rows) >= _CHUNK and self.number > 1:
            self._write(part)

    def read(self) -> Iterator[Iterable[Row]]:
        """The rows of each part in the order in which they came."""
        for part, path in enumerate(self._paths):
            if self.number == 1:
                yield self._rows[0]
                continue
            self._write(part)
            yield self._stored(path)

    def _write(self, part: int) -> None:
        if self._rows[part]:
            with self._paths[part].open("ab") as file:
                # tuples of plain values, which never leave this process
                marshal.dump([tuple(row) for row in self._rows[part]], file)
            self._rows[part] = []

    @staticmethod
    def _stored(path: Path) -> Iterator[Row]:
        if not path.is_file():
            return
        with path.open("rb") as file:
            while file.peek(1):
                yield from map(Row._make, marshal.load(file))


def _part_of(fold: str, number: int) -> int:
    """The part of a text, which does not depend on Python's hash seed."""
    if number == 1:
        return 0
    digest = hashlib.blake2b(fold.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % number


def number_of_parts(findings: Findings) -> int:
    """Enough parts that none takes much memory; packed files hold more than their size."""
    size = 0
    for feed in findings.feeds:
        weight = 4 if feed.table.path.suffix.lower() == ".parquet" else 1
        size += weight * sum(file.stat().st_size for file in feed.table.files if file.is_file())
    return max(1, math.ceil(size / _PART_BYTES))


class Scan:
    """Reads all rows once: counts them, encodes their targets and deals them into parts."""

    def __init__(self, findings: Findings, tasks: Mapping[str, Task], parts: Parts) -> None:
        found = {name for feed in findings.feeds for name in feed.columns}
        self.findings = findings
        self.tasks = {name: task for name, task in tasks.items() if name in found}
        self.names = list(self.tasks)
        self.parts = parts
        self.readings = {name: Reading() for name in self.tasks}
        self.files: dict[Path, int] = {}
        self.sources: dict[str, int] = {}
        self.given: dict[int, set[Split]] = {}
        self._cells: dict[str, dict[str, int]] = {name: {} for name in self.tasks}
        self._first: dict[str, list[str]] = {name: [] for name in self.tasks}
        self._encoded: dict[str, list[Target]] = {}

    def run(self) -> None:
        """Read everything; then the labels are known."""
        bar: Any = tqdm(desc="reading", unit=" rows", delay=2, disable=None)
        with bar:
            for feed in self.findings.feeds:
                self._read(feed, bar)
        for name, task in self.tasks.items():
            reading = self.readings[name]
            where = ", ".join(map(str, self.findings.paths(name)))
            if not reading.read - sum(places.count for places in reading.dropped.values()):
                raise DataError(
                    f"{where}: expected targets for the task {name!r}; found none"
                    + "".join(
                        f", {p.count:,} {why}" for why, p in reading.dropped.items() if p.count
                    )
                )
            if task.is_open:
                self._resolve(name, task, where)

    def target(self, task: str, stored: Target) -> Target:
        """What a row's stored target stands for, after `run`."""
        encoded = self._encoded.get(task)
        return stored if encoded is None else encoded[int(stored)]  # type: ignore[arg-type]

    def _resolve(self, name: str, task: Task, where: str) -> None:
        """Find what a declaration left open, and read the cells that waited for it."""
        cells = self._cells[name]
        try:
            resolved = task.resolve(list(cells))
        except ConfigError as error:
            raise DataError(f"{where}: {error} (task {name!r})") from error
        self.tasks[name] = resolved
        self._encoded[name] = [
            _encoded(resolved, name, cell, first)
            for cell, first in zip(cells, self._first[name], strict=True)
        ]

    def _read(self, feed: Feed, bar: Any) -> None:
        columns = list(feed.columns.values())
        own = [name for name in (feed.split_column, feed.group_column) if name is not None]
        tasks = [(self.names.index(name), name) for name in feed.columns]
        source = self.sources.setdefault(feed.source, len(self.sources))
        self.given.setdefault(source, set())
        for record in feed.table.read([feed.text, *columns, *own]):
            bar.update()
            text = sentence(record, feed.text)
            cells = [(cell or "").strip() for cell in record.cells[1 : len(columns) + 1]]
            targets = self._targets(record, tasks, cells, blank=not text)
            if text:
                self._keep(feed, record, text, source, targets)

    def _targets(
        self, record: Record, tasks: Sequence[tuple[int, str]], cells: Sequence[str], *, blank: bool
    ) -> tuple[tuple[int, Target], ...]:
        """The targets of a row; what is missing is counted."""
        targets = []
        for (number, name), cell in zip(tasks, cells, strict=True):
            reading = self.readings[name]
            reading.read += 1
            reason: Reason | None = "blank" if blank else None if cell else "without a target"
            if reason is None:
                targets.append((number, self._encode(name, cell, record)))
            else:
                reading.dropped[reason].add(record.where)
        return tuple(targets)

    def _encode(self, name: str, cell: str, record: Record) -> Target:
        task, known = self.tasks[name], self._cells[name]
        if not task.is_open:
            return _encoded(task, name, cell, record.where)
        if cell not in known:
            if len(known) >= _MOST_CELLS:
                raise DataError(
                    f"{record.where}: found more than {_MOST_CELLS:,} different targets of the task "
                    f"{name!r}. Declare its labels, or the ends of its range"
                )
            known[cell] = len(known)
            self._first[name].append(record.where)
        return known[cell]

    def _keep(
        self,
        feed: Feed,
        record: Record,
        text: str,
        source: int,
        targets: tuple[tuple[int, Target], ...],
    ) -> None:
        """Deal a row that has targets, or a group, which goes for rows of the same text as well."""
        key = text_key(text)
        fold = key.casefold()
        split = feed.split
        group: str | None = None
        if feed.group_column is not None:
            group = (record.cells[-1] or "").strip() or None
        grouped = group is not None
        if not (targets or grouped):
            return
        if targets and feed.split_column is not None:
            split = declared_split(record.cells[len(feed.columns) + 1] or "", record.where)
        if targets and feed.split_list is not None:
            split = feed.split_list.split(text)
            if split is None:
                for task, _ in targets:
                    reading = self.readings[self.names[task]]
                    reading.dropped["not in the split list"].add(record.where)
                return
        if targets and split is not None:
            self.given[source].add(split)
        position = position_of(f"\0{group}" if grouped else fold)
        file = self.files.setdefault(record.file, len(self.files))
        row = Row(text, key, position, grouped, split, file, record.number, source, targets)
        self.parts.add(row, fold)


def _encoded(task: Task, name: str, cell: str, where: str) -> Target:
    try:
        return task.encode(cell)
    except ValueError as error:
        raise DataError(f"{where}: {error} (task {name!r})") from error
