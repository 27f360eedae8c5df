"""Which rows an epoch has when sources differ in size: a pure function of (seed, epoch).

Every source gives its share of the rows of an epoch, and all of them meet in the same batches.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lit_mtl.errors import ConfigError

Mixing = Literal["proportional", "temperature", "uniform", "weights"]
"""How large each source's share of an epoch is."""


def source_rows(
    sizes: Sequence[int], *, mixing: Mixing, temperature: float, weights: Sequence[float]
) -> list[int]:
    """Rows of each source in an epoch, which has as many rows in all as the sources together.

    `proportional` takes each row once. `temperature` takes shares proportional to
    size^(1/temperature) (Devlin 2018, multilingual BERT: 0.7 is 1/1.43; Raffel et al. 2020, T5), so
    1 is `proportional` and a large one nearly `uniform`. `weights` takes shares that are given.

    Args:
        sizes: rows of each source.
        mixing: the way.
        temperature: at least 1, for `temperature`.
        weights: of each source, for `weights`.

    Raises:
        ConfigError: if nothing could be drawn, or the temperature is below 1.
    """
    if mixing == "proportional":
        return list(sizes)
    if not temperature >= 1:
        raise ConfigError(f"Expected `mixing_temperature` to be at least 1, but got {temperature}")
    size = np.asarray(sizes, dtype=np.float64)
    present = size > 0
    shares = {
        "temperature": size ** (1 / temperature),
        "uniform": np.ones_like(size),
        "weights": np.asarray(weights, dtype=np.float64),
    }[mixing] * present
    if not shares.sum() > 0:
        raise ConfigError(
            f"Expected a source with rows and a `weight` above 0, but got the weights {list(weights)}"
        )
    return _apportioned(shares / shares.sum(), int(size.sum()))


def _apportioned(shares: NDArray[np.float64], total: int) -> list[int]:
    """Whole numbers that sum to a total, by the largest remainders."""
    exact = shares * total
    counts = np.floor(exact).astype(np.int64)
    largest = np.argsort(-(exact - counts), kind="stable")[: total - int(counts.sum())]
    counts[largest] += 1
    return [int(count) for count in counts]


def epoch_rows(
    source: NDArray[np.integer], *, rows: Sequence[int], seed: int, epoch: int
) -> NDArray[np.int64]:
    """Row numbers of an epoch, source by source.

    Each source is an endless sequence of shuffled passes over its rows, of which each epoch takes
    the next part. So over the epochs no row is drawn a second time more often than another.

    Args:
        source: number of the source of each row.
        rows: rows of each source in an epoch.
        seed: seed of the shuffling.
        epoch: counts from 0.
    """
    drawn = []
    for number, count in enumerate(rows):
        own = np.flatnonzero(source == number)
        if not count:
            continue
        first = epoch * count
        for turn in range(first // len(own), -(-(first + count) // len(own))):
            order = own[np.random.default_rng([seed, number, turn]).permutation(len(own))]
            begin = turn * len(own)
            drawn.append(order[max(first - begin, 0) : first + count - begin])
    return np.concatenate(drawn).astype(np.int64)
