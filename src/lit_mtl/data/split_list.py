"""Splits that others have published: a list that says in which split each sentence is.

A table, or the two files of the Stanford Sentiment Treebank (Socher et al. 2013, Recursive Deep Models
for Semantic Compositionality Over a Sentiment Treebank), whose sentences are written as its parser takes
them: "(the clichés) can't" is there "-LRB- the clichÃ©s -RRB- ca n't". So these are compared by their ASCII
letters and digits alone.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lit_mtl.data.readers import file_lines
from lit_mtl.data.splits import SPLITS, Split, declared_split, text_key
from lit_mtl.data.table import Table, sentence
from lit_mtl.data.tables import is_table, open_table
from lit_mtl.errors import DataError, MissingInputError

SENTENCES, SETS = "datasetSentences.txt", "datasetSplit.txt"
"""The files of the Stanford Sentiment Treebank that are read."""

SPLIT = "split"
"""The column of a table that says it."""

_SETS: dict[str, Split] = {"1": "train", "2": "test", "3": "val"}

_BRACKETS = re.compile(r"-[LR][RCS]B-")
_OTHERS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, kw_only=True)
class SplitList:
    """In which split each sentence is.

    Args:
        files: the files that were read.
        key: what counts as the same sentence.
        splits: the split of each key.
    """

    files: tuple[Path, ...]
    key: Callable[[str], str]
    splits: Mapping[str, Split]

    def split(self, text: str) -> Split | None:
        """The split of a sentence; None for one that is not in the list."""
        return self.splits.get(self.key(text))


def open_split_list(path: Path) -> SplitList:
    """Read a list.

    A sentence that stands in several splits is in test before val, and in val before train.

    Args:
        path: a table with the columns `text` (or `sentence`) and `split`, or a folder with
            `datasetSentences.txt` and `datasetSplit.txt`.

    Raises:
        MissingInputError: if it is not there.
        DataError: if it is something else, with file and line.
    """
    if is_table(path):
        table = open_table(path)
        files, key, rows = table.files, folded, _table(table)
    else:
        files, key, rows = (path / SENTENCES, path / SETS), letters, _treebank(path)
    splits: dict[str, Split] = {}
    for text, split in rows:
        if name := key(text):
            splits[name] = max(split, splits.get(name, split), key=SPLITS.index)
    return SplitList(files=files, key=key, splits=splits)


def folded(text: str) -> str:
    """A sentence as everywhere here: without regard to case and the amount of white space."""
    return text_key(text).casefold()


def letters(text: str) -> str:
    """A sentence's ASCII letters and digits, without regard to case."""
    return _OTHERS.sub("", _BRACKETS.sub("", text).lower())


def _table(table: Table) -> Iterator[tuple[str, Split]]:
    if SPLIT not in table.columns:
        raise DataError(
            f"{table.path}:1: expected the column {SPLIT!r}; found the columns "
            f"{', '.join(table.columns)}"
        )
    column = table.text_column()
    for record in table.read([column, SPLIT]):
        yield sentence(record, column), declared_split(record.cells[1] or "", record.where)


def _treebank(folder: Path) -> Iterator[tuple[str, Split]]:
    for name in (SENTENCES, SETS):
        if not (folder / name).exists():
            raise MissingInputError(
                f"{folder / name}: expected a file of the Stanford Sentiment Treebank, found nothing; "
                f"a split list is that folder, or a table with the columns text and {SPLIT}"
            )
    sets: dict[str, Split] = {}
    for where, number, label in _cells(folder / SETS, ","):
        if label not in _SETS:
            raise DataError(f"{where}: expected a set out of {', '.join(_SETS)}; found {label!r}")
        sets[number] = _SETS[label]
    for where, number, text in _cells(folder / SENTENCES, "\t"):
        if number not in sets:
            raise DataError(f"{where}: expected a sentence whose set {SETS} names; found {number}")
        yield text, sets[number]


def _cells(path: Path, mark: str) -> Iterator[tuple[str, str, str]]:
    """`file:line` and the two cells of each line but the first, which names the columns."""
    for number, line in file_lines(path):
        first, found, second = line.partition(mark)
        if number == 1 or not line.strip():
            continue
        if not found:
            raise DataError(
                f"{path}:{number}: expected two cells with {mark!r} between; found {line!r}"
            )
        yield f"{path}:{number}", first.strip(), second.strip()
