"""Which split a sentence belongs to: by a hash of its text, or by what its files say."""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lit_mtl.errors import ConfigError, DataError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}

Stratum = float | tuple[float, ...] | None
"""The target by which a split is stratified; None for a sentence without one."""


def split_of_name(name: str) -> Split | None:
    """The split that a name means, in any case: train, val, dev, validation, test and others."""
    return _NAMES.get(name.strip().lower())


def declared_split(cell: str, where: str) -> Split:
    """The split that a cell names.

    Raises:
        DataError: if it names none; `where` is its `file:line`.
    """
    split = split_of_name(cell)
    if split is None:
        raise DataError(
            f"{where}: expected a split out of {', '.join(_NAMES)}; found {cell.strip()!r}"
        )
    return split


def text_key(text: str) -> str:
    """What counts as the same sentence: NFC, without regard to the amount of white space."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def position_of(key: str) -> float:
    """The place in [0, 1) that a text, without regard to its case, or a group has by its hash.

    It is a function of the key alone, so new rows do not move old ones.
    """
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True, kw_only=True)
class Splitter:
    """Cuts [0, 1) into splits.

    With folds, test is the fold of a number, and over all numbers each sentence is in it once; the
    validation share then follows the fold.

    Args:
        val_fraction: share of the validation split.
        test_fraction: share of the test split; with folds it is one of them.
        folds: number of folds. None: no folds.
        fold: number of the fold that is the test split, from 0.
        strata: all positions of each stratum in order, of which shares are then taken, instead of
            shares of all positions. Sentences that come later may then move others.

    Raises:
        ConfigError: if the shares are more than all, or there is no such fold.
    """

    val_fraction: float
    test_fraction: float
    folds: int | None = None
    fold: int = 0
    strata: Mapping[Stratum, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.folds is not None and not (self.folds >= 2 and 0 <= self.fold < self.folds):
            raise ConfigError(
                "Expected `folds` to be at least 2 and `fold` to be one of them, counted from 0, "
                f"but got folds={self.folds} and fold={self.fold}"
            )
        test = self.test_fraction if self.folds is None else 1 / self.folds
        if not (self.val_fraction >= 0 and test >= 0 and self.val_fraction + test <= 1):
            raise ConfigError(
                "Expected `val_fraction` and `test_fraction` to be at least 0 and together at most 1, "
                f"but got {self.val_fraction} and {test:g}"
            )

    def __str__(self) -> str:
        """The shares that are in force, by their options."""
        test = f"test_fraction={self.test_fraction}"
        if self.folds is not None:
            test = f"fold={self.fold} of folds={self.folds}"
        return f"val_fraction={self.val_fraction} and {test}"

    @property
    def has_test(self) -> bool:
        """Whether there is a test split by hash."""
        return self.folds is not None or self.test_fraction > 0

    def split(self, position: float, stratum: Stratum = None) -> Split:
        """The split of a position."""
        if self.strata:
            known = self.strata[stratum]
            rank = int(np.searchsorted(known, position))
            position = (rank + self._phases[stratum]) / len(known)
        if self.folds is None:
            if position < self.test_fraction:
                return "test"
            return "val" if position < self.test_fraction + self.val_fraction else "train"
        if int(position * self.folds) == self.fold:
            return "test"
        behind = (position - (self.fold + 1) / self.folds) % 1.0
        return "val" if behind < self.val_fraction else "train"

    @cached_property
    def _phases(self) -> dict[Stratum, float]:
        """Where in [0, 1) the first sentence of each stratum is, times its number of sentences.

        With one phase for all, what is left over of each would go to the same split, and all of it
        where no stratum has two sentences. These spread evenly over any strata that follow each other.
        """
        ordered = sorted(self.strata, key=_order)
        return {stratum: (0.5 + _GOLDEN * index) % 1.0 for index, stratum in enumerate(ordered)}


_GOLDEN = (5**0.5 - 1) / 2
"""Steps of this length cover [0, 1) most evenly, however many there are (Knuth, TAOCP 3, 6.4)."""


def _order(stratum: Stratum) -> tuple[bool, tuple[float, ...]]:
    if stratum is None:
        return True, ()
    return False, stratum if isinstance(stratum, tuple) else (stratum,)
