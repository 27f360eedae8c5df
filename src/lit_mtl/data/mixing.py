"""Which rows an epoch has when sources differ in size: a pure function of (seed, epoch).

Every source gives its share of the rows of an epoch, and all of them meet in the same batches.
"""

import math
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
    source: NDArray[np.integer],
    *,
    rows: Sequence[int],
    seed: int,
    epoch: int,
    lengths: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Row numbers of an epoch, source by source.

    Each source is an endless sequence of shuffled passes over its rows, of which each epoch takes
    the next part. So over the epochs no row is drawn a second time more often than another.

    Args:
        source: number of the source of each row.
        rows: rows of each source in an epoch.
        seed: seed of the shuffling.
        epoch: counts from 0.
        lengths: tokens of each row, for passes whose every part has nearly the same lengths; see
            `longest_possible`. None: passes in any order.
    """
    drawn = []
    for number, count in enumerate(rows):
        own = np.flatnonzero(source == number)
        if not count:
            continue
        first = epoch * count
        for turn in range(first // len(own), -(-(first + count) // len(own))):
            random = np.random.default_rng([seed, number, turn])
            order: NDArray[np.integer] = own[random.permutation(len(own))]
            if lengths is not None:
                order = _dealt(order, lengths[order], parts=_parts(len(own), count), random=random)
            begin = turn * len(own)
            drawn.append(order[max(first - begin, 0) : first + count - begin])
    return np.concatenate(drawn).astype(np.int64)


def longest_possible(
    lengths: NDArray[np.integer], source: NDArray[np.integer], *, rows: Sequence[int]
) -> NDArray[np.integer]:
    """Lengths that bound those of any epoch: sorted, none of them is below the epoch's.

    A source's pass, as `epoch_rows` makes it with `lengths`, is dealt from parts of its rows by
    length: each n rows on end have one of each of the n parts. Of a part of m rows among N, an epoch
    that takes c rows and begins anywhere then has at most c/n + 2 rows, and m - N/n more for each
    pass that ends in it, because the last rows of a pass are of the larger parts only.

    Args:
        lengths: tokens of each row.
        source: number of the source of each row.
        rows: rows of each source in an epoch.
    """
    bounds = []
    for number, count in enumerate(rows):
        own = np.sort(lengths[source == number])[::-1]
        if not count:
            continue
        parts = np.array_split(own, _parts(len(own), count))
        share, passes = len(own) / len(parts), np.array([count // len(own), count // len(own) + 1])
        most = [
            int(count / len(parts) + 2 + (passes * (len(part) - share)).max()) for part in parts
        ]
        bounds.append(np.repeat([part[0] for part in parts], most)[:count])
    return np.concatenate(bounds)


def _parts(size: int, count: int) -> int:
    """Parts of a source by length. More bound an epoch's lengths more closely, up to a point."""
    return min(size, math.isqrt(count) or 1)


def _dealt(
    order: NDArray[np.integer],
    lengths: NDArray[np.integer],
    *,
    parts: int,
    random: np.random.Generator,
) -> NDArray[np.integer]:
    """Shuffled rows in an order in which each `parts` rows on end from the first have one of each part."""
    longest_first = order[np.argsort(-lengths, kind="stable")]
    turns = np.concatenate(
        [random.permutation(len(part)) for part in np.array_split(longest_first, parts)]
    )
    return longest_first[np.lexsort((random.permutation(len(order)), turns))]
