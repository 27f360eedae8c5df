"""Pairs of sentences with a number that says how similar they are, as in the STS benchmark."""

from dataclasses import dataclass
from pathlib import Path

from lit_mtl.data.table import sentence
from lit_mtl.data.tables import open_table
from lit_mtl.errors import DataError
from lit_mtl.tasks.cells import read_number

COLUMNS = ("sentence1", "sentence2", "score")

_FEWEST = 3


@dataclass(frozen=True, kw_only=True)
class ScoredPairs:
    """P pairs in the order of their file.

    Args:
        first: P sentences.
        second: P sentences.
        scores: P numbers, in any unit; larger is more similar.
    """

    first: list[str]
    second: list[str]
    scores: list[float]


def read_scored_pairs(path: Path) -> ScoredPairs:
    """Read a table with the columns `sentence1`, `sentence2` and `score`.

    Raises:
        MissingInputError: if there is none.
        DataError: if it has other columns, fewer than three pairs, one without a sentence or number,
            or only one and the same score.
    """
    table = open_table(path)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise DataError(
            f"{path}:1: expected the columns {', '.join(COLUMNS)}; {', '.join(missing)} not among "
            f"the columns {', '.join(table.columns) or 'none'}"
        )
    found = ScoredPairs(first=[], second=[], scores=[])
    for record in table.read(COLUMNS):
        for place, sentences in enumerate((found.first, found.second)):
            text = sentence(record._replace(cells=record.cells[place:]), COLUMNS[place])
            if not text:
                raise DataError(f"{record.where}: expected a sentence under {COLUMNS[place]!r}")
            sentences.append(text)
        try:
            found.scores.append(read_number((record.cells[2] or "").strip()))
        except ValueError as error:
            raise DataError(f"{record.where}: score: {error}") from error
    if len(found.scores) < _FEWEST or len(set(found.scores)) == 1:
        raise DataError(
            f"{path}: expected at least {_FEWEST} pairs with different scores, which can be ranked; "
            f"found {len(found.scores)} with {len(set(found.scores))} different scores"
        )
    return found
