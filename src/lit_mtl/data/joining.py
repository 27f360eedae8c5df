"""Joins the rows of all sources by text, splits the examples and has them written.

One sentence carries as many targets as the files give it; a missing target stays missing.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lit_mtl.data.corpus import Contradiction, Corpus, Reason
from lit_mtl.data.prepared import Example, PreparedWriter
from lit_mtl.data.scanning import Parts, Row, Scan, number_of_parts
from lit_mtl.data.sources import Findings
from lit_mtl.data.splits import SPLITS, Split, Splitter, Stratum
from lit_mtl.errors import ConfigError
from lit_mtl.tasks.base import Target, Task
from lit_mtl.tokenization import Tokenize

Contradictions = Literal["error", "drop", "keep"]
"""What becomes of a sentence that has several labels for one task."""


def build_corpus(
    findings: Findings,
    folder: Path,
    *,
    tasks: Mapping[str, Task],
    splitter: Splitter,
    tokenize: Tokenize,
    contradictions: Contradictions = "error",
    stratify: str | None = None,
) -> Corpus:
    """Read, join, split and tokenise all sources.

    Args:
        findings: what is read.
        folder: where the corpus is written.
        tasks: the declared tasks by name.
        splitter: cuts what the files do not split themselves.
        tokenize: texts to ids.
        contradictions: what becomes of a sentence that has several labels for one task.
        stratify: task of whose targets each split gets its share. None: shares of all sentences.

    Raises:
        DataError: for whatever is wrong in a file, with file and line.
        ConfigError: if a setting fits nothing.
    """
    if stratify is not None:
        _refuse_groups(findings)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".parts-") as scratch:
        scan = Scan(findings, tasks, Parts(Path(scratch), number_of_parts(findings)))
        scan.run()
        if splitter.folds is not None:
            _refuse_tests(scan)
        joiner = _Joiner(scan, splitter, contradictions)
        if stratify is not None:
            joiner.splitter = replace(splitter, strata=joiner.strata(stratify))
        files = [str(file) for file in scan.files]
        with PreparedWriter(folder, scan.tasks, tokenize, files) as writer:
            for rows in _shown(scan.parts.read(), scan.parts.number):
                for split, example in joiner.examples(rows):
                    writer.add(split, example)
    return writer.corpus(
        readings=scan.readings,
        sources=list(scan.sources),
        paths={name: [str(path) for path in findings.paths(name)] for name in scan.tasks},
        unused=[str(path) for path in findings.unused],
    )


def _refuse_tests(scan: Scan) -> None:
    """A test split that files name would be the same in every fold."""
    for name, number in scan.sources.items():
        if "test" in scan.given[number]:
            raise ConfigError(
                f"Expected no test split in the files where `folds` makes one of each part, but the "
                f"source {name!r} names its own. Leave `folds` out, or give the source one path alone"
            )


def _refuse_groups(findings: Findings) -> None:
    """With shares of each label, the sentences of one group would go to several splits."""
    grouped = [feed.source for feed in findings.feeds if feed.group_column is not None]
    if grouped:
        raise ConfigError(
            f"Expected no groups where `stratify` shares out each label, but the source {grouped[0]!r} "
            "has some. Leave `stratify` out, or the source's `group`"
        )


def _shown(parts: Iterator[Iterable[Row]], number: int) -> Iterator[Iterable[Row]]:
    """The same, with a progress bar if it takes long."""
    yield from tqdm(
        parts, desc="joining and tokenising", total=number, unit=" parts", delay=2, disable=None
    )


class _Joiner:
    """Makes examples of the rows of a part."""

    def __init__(self, scan: Scan, splitter: Splitter, contradictions: Contradictions) -> None:
        self.scan = scan
        self.splitter = splitter
        self._contradictions = contradictions
        self._files = list(scan.files)
        self._stratify: int | None = None

    def strata(self, task: str) -> dict[Stratum, NDArray[np.float64]]:
        """Positions of all sentences by their target for a task, in order."""
        if task not in self.scan.names:
            raise ConfigError(
                f"Expected `stratify` to be one of the tasks with data, {self.scan.names}, but got "
                f"{task!r}"
            )
        self._stratify = self.scan.names.index(task)
        found: dict[Stratum, list[float]] = {}
        for rows in self.scan.parts.read():
            for position, stratum in self._positions(_placed(rows)).values():
                found.setdefault(stratum, []).append(position)
        return {stratum: np.sort(positions) for stratum, positions in found.items()}

    def examples(self, rows: Iterable[Row]) -> Iterator[tuple[Split, Example]]:
        """The examples of a part, in the order of their first rows."""
        known = _placed(rows)
        splits = self._splits(known)
        joined: dict[str, list[Row]] = {}
        for row, split in zip(known, splits, strict=True):
            if split is None:
                for task, _ in row.targets:
                    self._drop(task, "in another split", row)
            else:
                joined.setdefault(row.key, []).append(row)
        of_key = {row.key: split for row, split in zip(known, splits, strict=True) if split}
        for key, same in joined.items():
            example = self._example(same)
            if example.targets:  # else its labels contradicted each other
                yield of_key[key], example

    def _splits(self, rows: Sequence[Row]) -> list[Split | None]:
        """The split of each row; None for one whose text also stands in a split that goes before.

        No text is in two splits, upper and lower case aside: test goes before val, and val before
        train.
        """
        positions = self._positions(rows) if self._stratify is not None else {}
        own: list[Split] = []
        winner: dict[str, Split] = {}
        for row in rows:
            fold = row.key.casefold()
            position, stratum = positions.get(fold, (row.position, None))
            split = self._split(row, position, stratum)
            own.append(split)
            known = winner.setdefault(fold, split)
            if SPLITS.index(split) > SPLITS.index(known):
                winner[fold] = split
        return [
            split if split == winner[row.key.casefold()] else None
            for row, split in zip(rows, own, strict=True)
        ]

    def _split(self, row: Row, position: float, stratum: Stratum) -> Split:
        """What the files say; what they leave to train serves a split for which they give nothing."""
        if row.split in ("val", "test"):
            return row.split
        split = self.splitter.split(position, stratum)
        return "train" if split in self.scan.given[row.source] else split

    def _positions(self, rows: Iterable[Row]) -> dict[str, tuple[float, Stratum]]:
        """Position and stratum of each text, case aside: those of its first row that has them."""
        found: dict[str, tuple[float, Stratum]] = {}
        assert self._stratify is not None
        name = self.scan.names[self._stratify]
        for row in rows:
            fold = row.key.casefold()
            if found.get(fold, (0.0, None))[1] is None:
                target = dict(row.targets).get(self._stratify)
                stratum = None if target is None else self.scan.target(name, target)
                found[fold] = (row.position, stratum)
        return found

    def _example(self, rows: Sequence[Row]) -> Example:
        first = rows[0]
        example = Example(first.text, first.file, first.number, first.source)
        by_task: dict[int, list[tuple[Target, Row]]] = {}
        for row in rows:
            for task, target in row.targets:
                by_task.setdefault(task, []).append((target, row))
        for task, found in by_task.items():
            merged = self._merged(task, found)
            if merged is not None:
                example.targets[self.scan.names[task]] = merged
        return example

    def _merged(self, task: int, found: Sequence[tuple[Target, Row]]) -> Target | None:
        """One target of the rows of a sentence; None if they contradict each other and are dropped."""
        name = self.scan.names[task]
        targets = [self.scan.target(name, stored) for stored, _ in found]
        rows = [row for _, row in found]
        merged: Target | None = targets[0]
        if len(targets) > 1:
            merged = self.scan.tasks[name].merge(targets)
        if merged is None:
            merged = self._decided(name, targets, rows)
        for row in rows[1:] if merged is not None else rows:
            self._drop(task, "repeated" if merged is not None else "contradictory", row)
        return merged

    def _decided(self, name: str, targets: Sequence[Target], rows: Sequence[Row]) -> Target | None:
        task = self.scan.tasks[name]
        labels = [
            [self._where(row), task.describe(target)]
            for row, target in zip(rows, targets, strict=True)
        ]
        contradiction = Contradiction(task=name, labels=labels)
        if self._contradictions == "error":
            raise contradiction.error()
        self.scan.readings[name].contradict(contradiction)
        if self._contradictions == "drop":
            return None
        return max(targets, key=targets.count)  # the first read of the most frequent ones

    def _drop(self, task: int, reason: Reason, row: Row) -> None:
        self.scan.readings[self.scan.names[task]].dropped[reason].add(self._where(row))

    def _where(self, row: Row) -> str:
        return f"{self._files[row.file]}:{row.number}"


def _placed(rows: Iterable[Row]) -> list[Row]:
    """The rows with targets; those without a group go where a row of the same text goes that has one."""
    known = list(rows)
    of_group: dict[str, float] = {}
    for row in known:
        if row.grouped:
            of_group.setdefault(row.key.casefold(), row.position)
    labelled = [row for row in known if row.targets]
    if not of_group:
        return labelled
    return [
        row
        if row.grouped
        else row._replace(position=of_group.get(row.key.casefold(), row.position))
        for row in labelled
    ]
