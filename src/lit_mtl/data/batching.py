"""Decides which rows meet in a batch: a pure function of (seed, epoch, rank, world size).

That makes a run resumable at any batch: (epoch, batches done) says all about the rows that remain.
Rows of similar length meet, so that little is padded; which of them meet is drawn anew each epoch.
Batches have a fixed number of rows, or as many as a budget of tokens allows.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

from lit_mtl.data.mixing import epoch_rows, longest_possible
from lit_mtl.data.steps import Window, budget_windows, training_steps

Lengths = Sequence[int] | NDArray[np.int32]
"""Tokens of each row."""

_POOL_BATCHES = 50
"""Batches whose rows are sorted by length together. More pad less, fewer mix more freely."""


@dataclass(frozen=True)
class Mixture:
    """Rows of several sources that are not drawn in proportion to their sizes.

    Args:
        source: number of the source of each row.
        rows: rows of each source in an epoch.
    """

    source: NDArray[np.integer]
    rows: Sequence[int]


def training_batches(
    lengths: Lengths,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    mixture: Mixture | None = None,
) -> Iterator[list[int]]:
    """Row numbers of each batch of one rank in one epoch.

    Every row comes exactly once over all ranks, without a mixture; all ranks have the same number of batches, and
    batch sizes differ by at most one row on a rank: there is no small last batch. The batches
    that the ranks hold at one step come from the same range of lengths, so none waits long.

    Args:
        lengths: tokens of each row.
        batch_size: rows a batch and rank at most (one more, where the rows would leave a rank
            without any).
        seed: seed of the order.
        epoch: counts from 0.
        rank: this process.
        world_size: number of processes.
        mixture: how often sources are drawn. None: every row once.
    """
    known = np.asarray(lengths)
    rows = len(known)
    steps = training_steps(rows, batch_size=batch_size, world_size=world_size)
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(rows)
    if mixture is not None:
        order = epoch_rows(mixture.source, rows=mixture.rows, seed=seed, epoch=epoch)[order]
    order = order.astype(np.int32)  # of many millions of rows, the numbers alone take much memory
    pool = _POOL_BATCHES * batch_size * world_size
    for start in range(0, rows, pool):
        part = order[start : start + pool]
        part[:] = part[np.argsort(known[part], kind="stable")]
    size, larger = divmod(rows, steps)
    for step in random.permutation(steps):
        start = step * size + min(step, larger)
        yield order[start : start + size + (step < larger)][rank::world_size].tolist()


def planned_windows(
    lengths: Lengths,
    *,
    batch_tokens: int,
    batch_size: int,
    world_size: int = 1,
    mixture: Mixture | None = None,
) -> list[Window]:
    """Where the rows of any epoch, sorted by length, are cut for `budget_batches`.

    Args:
        lengths: tokens of each row.
        batch_tokens: rows times the longest row of a batch and rank at most.
        batch_size: rows a batch and rank at most.
        world_size: number of processes.
        mixture: how often sources are drawn. Their rows then differ between epochs, and what is
            cut are the longest that could be drawn: batches are a little smaller than without.
    """
    known = np.asarray(lengths)
    if mixture is not None:
        known = longest_possible(known, mixture.source, rows=mixture.rows)
    longest_first = np.sort(known)[::-1]
    return budget_windows(
        longest_first, tokens=batch_tokens, batch_size=batch_size, world_size=world_size
    )


def budget_batches(
    lengths: Lengths,
    *,
    windows: Sequence[Window],
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    mixture: Mixture | None = None,
) -> Iterator[list[int]]:
    """Row numbers of each batch of one rank in one epoch, with a budget of tokens.

    Every row comes exactly once over all ranks, without a mixture. All ranks have the same number of
    batches in every epoch; those that they hold at one step are neighbours by length, so that none
    waits long.

    Args:
        lengths: tokens of each row.
        windows: those that `planned_windows` found for the same rows.
        seed: seed of the order.
        epoch: counts from 0.
        rank: this process.
        world_size: number of processes.
        mixture: how often sources are drawn. None: every row once.
    """
    known = np.asarray(lengths)
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(known))
    if mixture is not None:
        order = epoch_rows(
            mixture.source, rows=mixture.rows, seed=seed, epoch=epoch, lengths=known
        )[order]
    longest_first = order[np.argsort(-known[order], kind="stable")]
    batches: list[NDArray[np.int64]] = []
    for window in windows:
        rows = random.permutation(longest_first[window.start : window.stop])
        batches += np.array_split(rows, window.batches)
    for step in random.permutation(len(batches) // world_size):
        yield batches[step * world_size + rank].tolist()


def evaluation_batches(
    lengths: Lengths, *, batch_size: int, rank: int = 0, world_size: int = 1
) -> Iterator[list[int]]:
    """Row numbers of each batch of one rank: rows of like lengths, the longest ones first.

    The other batches come in a random order that is always the same, so that the first ones, to which
    a Trainer may be limited, are short and long. No row is padded in or left out. A rank without a row
    of its own gets row 0 once more, so that it takes part in every collective call; who gathers drops
    repeated rows by their `row_id`.
    """
    longest_first = np.argsort(-np.asarray(lengths), kind="stable")
    own = longest_first[rank::world_size] if rank < len(longest_first) else np.zeros(1, np.int64)
    # of the rank with the most, so that the batches of one step are neighbours by length
    most = math.ceil(math.ceil(len(longest_first) / world_size) / batch_size)
    for place in (0, *(1 + np.random.default_rng(0).permutation(max(most - 1, 0)))):
        if batch := own[place * batch_size : (place + 1) * batch_size].tolist():
            yield batch


class LengthGroupedSampler(DistributedSampler[list[int]]):
    """Yields the batches above; shards itself over the ranks.

    It is a `DistributedSampler` because Lightning leaves those alone: any other sampler would be
    wrapped under DDP, and rows would be padded in.

    Args:
        lengths: tokens of each row.
        batch_size: rows a batch and rank at most.
        seed: seed of the order of training batches; None for the order of evaluation.
        rank: this process.
        world_size: number of processes.
        start: epoch to begin with and batches of it that are done.
        mixture: how often sources are drawn in training. None: every row once an epoch.
        batch_tokens: tokens of a training batch and rank at most, padding included. None: all
            training batches have the same number of rows.
    """

    def __init__(
        self,
        lengths: Lengths,
        *,
        batch_size: int,
        seed: int | None,
        rank: int = 0,
        world_size: int = 1,
        start: tuple[int, int] = (0, 0),
        mixture: Mixture | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        # known before the first iterator: workers fetch as soon as they exist
        self.epoch = start[0]
        self._start = start
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self.world_size = world_size
        self._mixture = mixture
        self._windows = None
        if seed is not None and batch_tokens is not None:
            self._windows = planned_windows(
                lengths,
                batch_tokens=batch_tokens,
                batch_size=batch_size,
                world_size=world_size,
                mixture=mixture,
            )

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of the current epoch that are not done."""
        done = self._start[1] if self.epoch == self._start[0] else 0
        return islice(self._batches(), done, None)

    def __len__(self) -> int:
        """Batches of a whole epoch of this rank, which do not depend on the epoch."""
        rows, size = len(self._lengths), self._batch_size
        if self._windows is not None:
            return sum(window.batches for window in self._windows) // self.world_size
        if self._seed is not None:
            return training_steps(rows, batch_size=size, world_size=self.world_size)
        own = len(range(self._rank, rows, self.world_size)) or 1
        return -(-own // size)

    @property
    def most_rows(self) -> int:
        """Rows of a batch at most: one more than asked for, where a rank would be left without any."""
        return self._batch_size + 1

    def padding(self) -> float:
        """Share of padding among the tokens of this rank's first thousand batches of an epoch.

        Their order is random, so they stand for all.
        """
        lengths = np.asarray(self._lengths)
        found = [lengths[rows] for rows in islice(self._batches(), 1000)]
        padded = sum(int(batch.max()) * len(batch) for batch in found)
        return 1 - sum(int(batch.sum()) for batch in found) / padded

    def _batches(self) -> Iterator[list[int]]:
        ranks: _Ranks = {"rank": self._rank, "world_size": self.world_size}
        if self._seed is None:
            return evaluation_batches(self._lengths, batch_size=self._batch_size, **ranks)
        drawn: _Draw = {"seed": self._seed, "epoch": self.epoch, "mixture": self._mixture}
        if self._windows is not None:
            return budget_batches(self._lengths, windows=self._windows, **drawn, **ranks)
        return training_batches(self._lengths, batch_size=self._batch_size, **drawn, **ranks)


class _Ranks(TypedDict):
    rank: int
    world_size: int


class _Draw(TypedDict):
    seed: int
    epoch: int
    mixture: Mixture | None
