"""Looks at tables of unknown columns: which holds the sentences, and what the others could teach."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lit_mtl.data.splits import split_of_name
from lit_mtl.data.table import TEXT_COLUMNS, Table
from lit_mtl.data.table_cells import Foreign, Verbatim
from lit_mtl.errors import DataError
from lit_mtl.tasks import Classification
from lit_mtl.tasks.cells import read_number, split_cell

_MOST_LABELS = 1000
"""Different values of a column of labels at most; more are names or free text."""

_FEW_LABELS = 50
"""Up to so many labels need to be seen but twice on the mean."""

_RECURS = 10
"""Cells a label, on the mean, that more labels have at least; those of names and free text are fewer."""

_MOST_LEVELS = 11
"""Different whole numbers of an ordered scale at most, as of 0 to 10."""

_DISTINCT = 1000
"""Different values that are kept of a column."""

_SHOWN = 8
"""Labels that are named where they are counted."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?", re.ASCII)
_ID = re.compile(r"(?i:^index$|(^|[^a-z])idx?$)|[a-z]I[dD]$")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)


@dataclass(kw_only=True)
class ColumnFacts:
    """What the cells of a column look like.

    Args:
        filled: cells with something in them.
        words: words in all of them.
        numbers: cells that are a number.
        whole: cells that are a whole number.
        lists: cells that are a JSON array, or several values separated by `|`.
        number_lists: those whose values are all numbers.
        splits: cells that name a split.
        verbatim: cells that JSON or Parquet has as a number, a truth value or a list, and not as text.
        foreign: cells that are neither text nor numbers nor lists of them; they are not among the filled.
        low: the least number.
        high: the largest number.
        distinct: the different cells, as long as there are not too many.
        values: the different values within lists, likewise.
    """

    filled: int = 0
    words: int = 0
    numbers: int = 0
    whole: int = 0
    lists: int = 0
    number_lists: int = 0
    splits: int = 0
    verbatim: int = 0
    foreign: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    distinct: dict[str, int] = field(default_factory=dict)
    values: set[str] = field(default_factory=set)

    def add(self, cell: str) -> None:
        """Look at one more cell that is not blank."""
        self.filled += 1
        self.words += len(cell.split())
        self.splits += split_of_name(cell) is not None
        if len(self.distinct) <= _DISTINCT:
            self.distinct[cell] = self.distinct.get(cell, 0) + 1
        number = _number(cell)
        if number is not None:
            self.numbers += 1
            self.whole += number.is_integer()
            self._widen(number)
        elif cell.startswith("[") or "|" in cell:
            self._add_list(cell)

    def _widen(self, number: float) -> None:
        self.low, self.high = min(self.low, number), max(self.high, number)

    def _add_list(self, cell: str) -> None:
        try:
            parts = split_cell(cell)
        except ValueError:
            return
        self.lists += 1
        numbers = [_number(part) for part in parts]
        known = [number for number in numbers if number is not None]
        if len(known) == len(parts):
            self.number_lists += 1
            for number in known:
                self._widen(number)
        elif len(self.values) <= _DISTINCT:
            self.values.update(parts)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What a column could teach.

    Args:
        task: the fields of a task, `kind` among them; None if nothing.
        why: what was seen, in words.
    """

    task: dict[str, Any] | None
    why: str


def _number(cell: str) -> float | None:
    try:
        return read_number(cell)
    except ValueError:
        return None


def look_at(table: Table) -> dict[str, ColumnFacts]:
    """Facts about each column of a table, which is read once."""
    facts = {name: ColumnFacts() for name in table.columns}
    for record in table.read_all():
        for name, cell in zip(table.columns, record.cells, strict=True):
            if isinstance(cell, Foreign) or name in table.arrow_only:
                facts[name].foreign += cell is not None
            elif text := (cell or "").strip():
                facts[name].verbatim += isinstance(cell, Verbatim)
                facts[name].add(text)
    return facts


def text_column(table: Table, facts: dict[str, ColumnFacts]) -> str:
    """The column of the sentences: by its name in any case, or the only one with several words a cell.

    Raises:
        DataError: if that is not one column.
    """
    if (named := table.column(TEXT_COLUMNS)) is not None:
        return named
    alike = [name for name in table.columns if name.lower() in TEXT_COLUMNS]
    if len(alike) == 1:
        return alike[0]
    wordy = [
        n
        for n, f in facts.items()
        if f.filled
        and f.words / f.filled >= 3
        and max(f.numbers, f.verbatim) < f.filled
        and not f.foreign
    ]
    if len(wordy) != 1:
        found = ", ".join(wordy) or "none"
        raise DataError(
            f"{table.path}:1: expected one column of sentences; found {found} with three words a cell "
            f"or more out of {', '.join(table.columns)}. Name it `text`"
        )
    return wordy[0]


def guess(facts: ColumnFacts, name: str = "") -> Guess:
    """The kind of task that the cells of a column suggest.

    Args:
        facts: about the cells.
        name: the column's own; numbers under `label` are those of classes, as `classification` reads it,
            and whole ones under a name such as `tweet_id` name something.
    """
    if facts.foreign:
        return Guess(task=None, why="it holds objects, bytes or the like")
    if not facts.filled:
        return Guess(task=None, why="it is empty")
    if facts.numbers == facts.filled:
        return _guess_numbers(facts, name)
    if facts.lists and facts.lists + facts.numbers == facts.filled:
        return _guess_lists(facts)
    if facts.lists and not facts.numbers and _recur(_values(facts), facts.filled, few=1):
        return _multilabel(facts)
    return _no_text_of_a_label(facts) or _guess_labels(facts)


def guess_named(facts: ColumnFacts) -> Guess:
    """The same for what is known to be labels, since files have these names: however many there are."""
    seen = guess(facts)
    return seen if seen.task or len(facts.distinct) < 2 else _labels(facts)


def _recur(kinds: int, cells: int, *, few: int) -> bool:
    """Whether values recur as labels do, on the mean.

    Args:
        kinds: different values.
        cells: cells that have them.
        few: cells a label that suffice for a few labels.
    """
    if kinds > _FEW_LABELS:
        return kinds <= _MOST_LABELS and cells >= _RECURS * kinds
    return cells >= few * kinds or kinds <= 2


def _values(facts: ColumnFacts) -> int:
    """Different values of lists, and of cells that hold a single one."""
    return len(facts.values.union(filter(_is_single, facts.distinct)))


def _no_text_of_a_label(facts: ColumnFacts) -> Guess | None:
    """What looks like text and is something else; None for any other text."""
    if all(_DATE.fullmatch(cell) for cell in facts.distinct):
        return Guess(task=None, why="dates are no labels")
    others = [cell for cell in facts.distinct if not _DECIMAL_COMMA.fullmatch(cell)]
    if len(others) < len(facts.distinct) and all(_number(cell) is not None for cell in others):
        return Guess(task=None, why="decimals stand behind a comma; write them after a point")
    return None


def _guess_lists(facts: ColumnFacts) -> Guess:
    if facts.number_lists + facts.numbers == facts.filled:
        return Guess(
            task={"kind": "regression_with_spread", "low": facts.low, "high": facts.high},
            why=f"several numbers a cell, from {facts.low:g} to {facts.high:g}",
        )
    if not _recur(_values(facts), facts.filled, few=0):
        return Guess(task=None, why=f"lists of {_values(facts):,} different values are no labels")
    return _multilabel(facts)


def _multilabel(facts: ColumnFacts) -> Guess:
    found = {*facts.values, *filter(_is_single, facts.distinct)}
    return Guess(
        task={"kind": "multilabel"}, why=f"lists of {len(found)} labels: {_some(sorted(found))}"
    )


def _is_single(cell: str) -> bool:
    return not cell.startswith("[") and "|" not in cell


def _guess_numbers(facts: ColumnFacts, name: str) -> Guess:
    classes = name.lower() in Classification.target_columns
    span = f"{facts.filled:,} numbers from {facts.low:g} to {facts.high:g}"
    kinds = len(facts.distinct)
    if facts.low == facts.high:
        return Guess(task=None, why=f"it is always {facts.low:g}")
    whole = facts.whole == facts.numbers
    if whole and _counts_rows(facts):
        return Guess(task=None, why="it numbers the rows")
    if whole and (kinds == 2 or (classes and _recur(kinds, facts.filled, few=2))):
        return _guess_labels(facts)
    if whole and kinds <= _MOST_LEVELS and facts.high - facts.low < _MOST_LEVELS:
        levels = {"low": int(facts.low), "high": int(facts.high)}
        return Guess(task={"kind": "ordinal", **levels}, why=f"{span}, {kinds} whole ones")
    if whole and _ID.search(name):
        return Guess(task=None, why=f"{span}, which by its name are ids")
    return Guess(task={"kind": "regression", "low": facts.low, "high": facts.high}, why=span)


def _counts_rows(facts: ColumnFacts) -> bool:
    """Whether nearly all whole numbers differ and nearly all between the ends occur."""
    differ = len(facts.distinct) >= 0.9 * min(facts.filled, _DISTINCT)
    between = facts.high - facts.low + 1
    return differ and 0.9 * facts.filled <= between < 1.1 * facts.filled


def _guess_labels(facts: ColumnFacts) -> Guess:
    kinds = len(facts.distinct)
    if not _recur(kinds, facts.filled, few=2):
        more = "more than " if kinds > _DISTINCT else ""
        return Guess(
            task=None,
            why=f"{more}{min(kinds, _DISTINCT):,} different values are no labels: in {facts.filled:,} "
            f"cells labels would recur, {_RECURS} times on the mean if there are more than "
            f"{_FEW_LABELS}",
        )
    if kinds < 2:
        return Guess(task=None, why=f"it is always {next(iter(facts.distinct))!r}")
    return _labels(facts)


def _labels(facts: ColumnFacts) -> Guess:
    counts = facts.distinct
    task: dict[str, Any] = {"kind": "classification"}
    if max(counts.values()) > 3 * min(counts.values()):
        task["class_weights"] = "balanced"
    shown = ", ".join(f"{label} {count:,}" for label, count in _first(counts.items()))
    more = ", …" if len(counts) > _SHOWN else ""
    return Guess(task=task, why=f"{len(counts)} labels: {shown}{more}")


def _first(items: Any) -> Iterator[Any]:
    return (item for _, item in zip(range(_SHOWN), items, strict=False))


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_SHOWN]) + (", …" if len(labels) > _SHOWN else "")


def is_split_column(facts: ColumnFacts) -> bool:
    """Whether every cell names a split, and at least two are named."""
    return facts.splits == facts.filled > 0 == facts.foreign and len(facts.distinct) >= 2
