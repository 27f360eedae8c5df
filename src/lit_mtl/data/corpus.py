"""All sentences of a run with their targets, split and tokenised: Arrow files and a page of facts.

The files are memory-mapped, so a corpus may be larger than memory, and processes share it.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray

from lit_mtl.data.splits import SPLITS, Split
from lit_mtl.errors import DataError, StorageError
from lit_mtl.tasks import task_from_spec
from lit_mtl.tasks.base import Task

Reason = Literal[
    "blank",
    "without a target",
    "not in the split list",
    "repeated",
    "contradictory",
    "in another split",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why a row gives no target of its own."""

_FACTS = "corpus.json"

_EXAMPLES = 5


@dataclass(kw_only=True)
class Places:
    """How often something was found, and `file:line` of the first few."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, where: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(where)

    @classmethod
    def of(cls, places: Iterable[str]) -> Self:
        """Count them all."""
        found = cls()
        for where in places:
            found.add(where)
        return found


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """A sentence with several labels for one task.

    Args:
        task: the task.
        labels: `file:line` and label of each of its rows.
    """

    task: str
    labels: list[list[str]]

    def __str__(self) -> str:
        """Who says what."""
        return "; ".join(f"{where} says {label}" for where, label in self.labels)

    def error(self) -> DataError:
        """The refusal of the data."""
        return DataError(
            f"{self.labels[-1][0]}: expected one label a sentence for the task {self.task!r}; found "
            f"several: {self}. `data.contradictions` may be drop or keep"
        )


@dataclass(kw_only=True)
class Reading:
    """What became of the rows of one task.

    Args:
        read: rows read.
        dropped: rows that give no target of their own, by reason. A repeated sentence counts once.
        contradictory: sentences with several labels.
        contradictions: the first of them.
    """

    read: int = 0
    dropped: dict[Reason, Places] = field(
        default_factory=lambda: {reason: Places() for reason in REASONS}
    )
    contradictory: int = 0
    contradictions: list[Contradiction] = field(default_factory=list)

    def contradict(self, contradiction: Contradiction) -> None:
        """Count one more sentence with several labels."""
        self.contradictory += 1
        if len(self.contradictions) < _EXAMPLES:
            self.contradictions.append(contradiction)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All examples of a run.

    Columns of a split: `row_id`, `text`, `file` and `number` (where it stands), `source`,
    `input_ids`, and `target.<task>`, which is null where the example has no target.

    Args:
        tasks: the tasks that have rows, with labels resolved and units measured.
        splits: the examples by split.
        readings: what became of the rows, by task.
        counts: examples with a target, by split and task.
        files: the files that were read.
        sources: names of the sources; the column `source` counts them.
        paths: where each task's targets come from.
        unused: tables from which no task learns.
        truncated: sentences that were cut.
        fingerprint: SHA-256 of all texts and targets in their order.
    """

    tasks: dict[str, Task]
    splits: dict[Split, Dataset]
    readings: dict[str, Reading]
    counts: dict[Split, dict[str, int]]
    files: list[str]
    sources: list[str]
    paths: dict[str, list[str]]
    unused: list[str]
    truncated: Places
    fingerprint: str

    def labelled(self, split: Split, task: str) -> int:
        """Examples of a split that have a target for a task."""
        return self.counts[split][task]

    def where(self, file: int, number: int) -> str:
        """`file:line` of an example."""
        return f"{self.files[file]}:{number}"

    def lengths(self, split: Split) -> NDArray[np.int32]:
        """Tokens of each sentence of a split, special ones included."""
        return token_counts(self.splits[split])

    def source_of(self, split: Split) -> NDArray[np.int64]:
        """Number of the source of each sentence of a split."""
        return self.splits[split].with_format("numpy")["source"][:]  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        """Write the page of facts; the Arrow files are there already."""
        facts = {name: value for name, value in vars(self).items() if name != "splits"}
        facts["tasks"] = {name: task.spec() for name, task in self.tasks.items()}
        facts["readings"] = {name: asdict(reading) for name, reading in self.readings.items()}
        facts["truncated"] = asdict(self.truncated)
        facts["bytes"] = {split: arrow_file(folder, split).stat().st_size for split in SPLITS}
        (folder / _FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open what `save` wrote.

        Raises:
            StorageError: if it is damaged.
        """
        try:
            facts: dict[str, Any] = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
            sizes = facts.pop("bytes")
            if any(arrow_file(folder, split).stat().st_size != sizes[split] for split in SPLITS):
                raise ValueError("a file has another size than it was written with")
            splits = {split: Dataset.from_file(str(arrow_file(folder, split))) for split in SPLITS}
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise StorageError(
                f"{folder}: the prepared data cannot be read ({error}). Remove that folder to have "
                "them prepared again"
            ) from error
        facts["tasks"] = {name: task_from_spec(spec) for name, spec in facts["tasks"].items()}
        facts["readings"] = {name: _reading(values) for name, values in facts["readings"].items()}
        facts["truncated"] = Places(**facts["truncated"])
        return cls(splits=splits, **facts)


def arrow_file(folder: Path, split: Split) -> Path:
    """Where the examples of a split stand."""
    return folder / f"{split}.arrow"


def target_column(task: str) -> str:
    """The column of a task's targets, apart from the columns of the sentences."""
    return f"target.{task}"


def labelled_rows(dataset: Dataset, task: str) -> NDArray[np.int64]:
    """Numbers of the rows that have a target for a task, (R,)."""
    return np.flatnonzero(dataset.data.column(target_column(task)).is_valid())


def targets_of(dataset: Dataset, task: str) -> NDArray[Any]:
    """The encoded targets of all rows that have one for a task, (R, S); see `Task`."""
    column = dataset.data.column(target_column(task)).drop_null()
    if not pa.types.is_list(column.type):
        return column.to_numpy()  # type: ignore[no-any-return]
    values = np.concatenate([np.empty(0), *(chunk.flatten() for chunk in column.chunks)])
    return values.reshape(len(column), -1) if len(column) else values


def token_counts(dataset: Dataset) -> NDArray[np.int32]:
    """Length of `input_ids` of each row; reads only where the lists begin."""
    column = dataset.data.column("input_ids")
    counts = [pa.compute.list_value_length(chunk).to_numpy() for chunk in column.chunks]
    return np.concatenate([np.empty(0, np.int32), *counts])


def _reading(values: dict[str, Any]) -> Reading:
    dropped = {reason: Places(**places) for reason, places in values.pop("dropped").items()}
    contradictions = [Contradiction(**found) for found in values.pop("contradictions")]
    return Reading(dropped=dropped, contradictions=contradictions, **values)
