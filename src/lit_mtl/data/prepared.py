"""Writes examples, tokenised, to the Arrow files of a corpus, some at a time."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from lit_mtl.data.corpus import Corpus, Places, arrow_file, target_column, targets_of
from lit_mtl.data.splits import SPLITS, Split
from lit_mtl.errors import ConfigError, DataError
from lit_mtl.tasks.base import Target, Task
from lit_mtl.tokenization import Tokenize

_CHUNK = 10_000
"""Sentences that are tokenised and written at once."""


@dataclass(slots=True)
class Example:
    """One sentence with its targets.

    Args:
        text: the sentence as first read.
        file: number of the file of its first row.
        number: line of its first row.
        source: number of the source of its first row.
        targets: encoded target by task; a task that is missing here has no target.
    """

    text: str
    file: int
    number: int
    source: int
    targets: dict[str, Target] = field(default_factory=dict)


class PreparedWriter:
    """The three files of a corpus while they are written.

    Args:
        folder: where they go.
        tasks: the tasks that have rows, with labels resolved.
        tokenize: see `tokenization`.
        files: the files that the examples count, for messages.
    """

    def __init__(
        self, folder: Path, tasks: Mapping[str, Task], tokenize: Tokenize, files: Sequence[str]
    ) -> None:
        self._folder = folder
        self._tasks = dict(tasks)
        self._tokenize = tokenize
        self._files = files
        self._schema = _schema(self._tasks)
        self._stack = ExitStack()
        self._writers: dict[Split, pa.RecordBatchStreamWriter] = {}
        self._waiting: dict[Split, list[Example]] = {split: [] for split in SPLITS}
        self._rows: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        self._digests = {split: hashlib.sha256() for split in SPLITS}
        self._counts: dict[Split, dict[str, int]] = {
            split: dict.fromkeys(self._tasks, 0) for split in SPLITS
        }
        self._truncated = Places()

    def __enter__(self) -> "PreparedWriter":
        """Open the files."""
        for split in SPLITS:
            sink = self._stack.enter_context(pa.OSFile(str(arrow_file(self._folder, split)), "wb"))
            self._writers[split] = self._stack.enter_context(pa.ipc.new_stream(sink, self._schema))
        return self

    def __exit__(self, *error: object) -> None:
        """Write what waits, unless something has failed, and close the files."""
        with self._stack:
            if error[0] is None:
                for split in SPLITS:
                    self._flush(split)

    def add(self, split: Split, example: Example) -> None:
        """Write one example, sooner or later."""
        waiting = self._waiting[split]
        waiting.append(example)
        if len(waiting) >= _CHUNK:
            self._flush(split)

    def corpus(self, **facts: Any) -> Corpus:
        """The corpus of the written files, after the block; `facts` are what it says beside."""
        splits = {
            split: Dataset.from_file(str(arrow_file(self._folder, split))) for split in SPLITS
        }
        tasks = {
            name: self._fit(name, task, splits["train"], facts["paths"][name])
            for name, task in self._tasks.items()
        }
        fingerprint = hashlib.sha256(b"".join(self._digests[split].digest() for split in SPLITS))
        corpus = Corpus(
            tasks=tasks,
            splits=splits,
            counts=self._counts,
            truncated=self._truncated,
            fingerprint=fingerprint.hexdigest(),
            files=list(self._files),
            **facts,
        )
        corpus.save(self._folder)
        return corpus

    @staticmethod
    def _fit(name: str, task: Task, train: Dataset, paths: Sequence[str]) -> Task:
        """A task with what is measured on its training rows."""
        try:
            return task.fit(targets_of(train, name))
        except ConfigError as error:
            raise DataError(f"{', '.join(paths)}: {error} (task {name!r})") from error

    def _flush(self, split: Split) -> None:
        examples = self._waiting[split]
        if not examples:
            return
        ids, cut = self._tokenize([example.text for example in examples])
        first = self._rows[split]
        columns: dict[str, list[Any]] = {
            "row_id": list(range(first, first + len(examples))),
            "text": [example.text for example in examples],
            "file": [example.file for example in examples],
            "number": [example.number for example in examples],
            "source": [example.source for example in examples],
            "input_ids": ids,
        }
        for name in self._tasks:
            targets = [example.targets.get(name) for example in examples]
            columns[target_column(name)] = targets
            self._counts[split][name] += sum(target is not None for target in targets)
        self._writers[split].write(pa.RecordBatch.from_pydict(columns, schema=self._schema))
        for example, was_cut in zip(examples, cut, strict=True):
            row = (example.text, sorted(example.targets.items()))
            self._digests[split].update(repr(row).encode())
            if was_cut:
                self._truncated.add(f"{self._files[example.file]}:{example.number}")
        self._rows[split] += len(examples)
        self._waiting[split] = []


def _schema(tasks: Mapping[str, Task]) -> pa.Schema:
    columns = {
        "row_id": pa.int64(),
        "text": pa.string(),
        "file": pa.int32(),
        "number": pa.int64(),
        "source": pa.int16(),
        "input_ids": pa.list_(pa.int32()),
    }
    for name, task in tasks.items():
        value = pa.float64() if task.target_dtype.is_floating_point else pa.int64()
        columns[target_column(name)] = pa.list_(value) if task.target_shape else value
    return pa.schema(columns)
