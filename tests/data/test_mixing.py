from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mtl.data.batching import Mixture, training_batches
from lit_mtl.data.mixing import Mixing, epoch_rows, longest_possible, source_rows
from lit_mtl.errors import ConfigError

SIZES = [8000, 2000, 0]


@pytest.mark.parametrize(
    ("mixing", "options", "expected"),
    [
        ("proportional", {}, [8000, 2000, 0]),
        ("uniform", {}, [5000, 5000, 0]),
        ("temperature", {"temperature": 1.0}, [8000, 2000, 0]),
        # the square roots of 8000 and 2000 are as 2 to 1
        ("temperature", {"temperature": 2.0}, [6667, 3333, 0]),
        ("weights", {"weights": [1.0, 3.0, 9.0]}, [2500, 7500, 0]),
        ("weights", {"weights": [0.0, 1.0, 0.0]}, [0, 10000, 0]),
    ],
)
def test_shares_have_a_closed_form(
    mixing: Mixing, options: dict[str, Any], expected: list[int]
) -> None:
    given = {"temperature": 1.0, "weights": [1.0, 1.0, 1.0], **options}
    assert source_rows(SIZES, mixing=mixing, **given) == expected


def test_what_could_not_be_drawn_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"at least 1, but got 0\.5"):
        source_rows(SIZES, mixing="temperature", temperature=0.5, weights=[1, 1, 1])
    with pytest.raises(ConfigError, match=r"`weight` above 0.*\[0, 0, 1\]"):
        source_rows(SIZES, mixing="weights", temperature=1, weights=[0, 0, 1])


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    counts=st.lists(st.integers(0, 50), min_size=4, max_size=4),
    epochs=st.integers(1, 6),
    by_length=st.booleans(),
)
def test_no_row_is_drawn_a_second_time_more_often_than_another(
    sizes: list[int], counts: list[int], epochs: int, by_length: bool
) -> None:
    counts = counts[: len(sizes)]
    counts[0] += 1
    source = np.repeat(np.arange(len(sizes)), sizes)
    lengths = np.arange(len(source)) % 7 + 3 if by_length else None
    drawn: Counter[int] = Counter()
    for epoch in range(epochs):
        rows = epoch_rows(source, rows=counts, seed=3, epoch=epoch, lengths=lengths)
        assert np.bincount(source[rows], minlength=len(sizes)).tolist() == counts
        drawn.update(rows.tolist())
    for number in range(len(sizes)):
        times = [drawn[row] for row in np.flatnonzero(source == number).tolist()]
        assert max(times) - min(times) <= 1


@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(3, 40)), min_size=2, max_size=120),
    counts=st.tuples(st.integers(1, 150), st.integers(0, 150)),
)
def test_no_epoch_is_longer_than_the_longest_possible(
    rows: list[tuple[int, int]], counts: tuple[int, int]
) -> None:
    source = np.array([0, 1] + [number for number, _ in rows])
    lengths = np.array([3, 3] + [length for _, length in rows])
    bound = np.sort(longest_possible(lengths, source, rows=counts))[::-1]
    for epoch in range(6):
        drawn = epoch_rows(source, rows=counts, seed=1, epoch=epoch, lengths=lengths)
        assert len(drawn) == len(bound)
        assert (np.sort(lengths[drawn])[::-1] <= bound).all()


def test_the_longest_possible_is_close_and_the_order_is_drawn_anew() -> None:
    lengths = np.random.default_rng(0).integers(3, 128, size=10_000)
    source = np.repeat([0, 1], [9000, 1000])
    counts = [6000, 4000]
    bound = longest_possible(lengths, source, rows=counts)
    one, other = (
        epoch_rows(source, rows=counts, seed=seed, epoch=0, lengths=lengths) for seed in (0, 1)
    )
    assert lengths[one].sum() < bound.sum() < 1.05 * lengths[one].sum()
    assert len(set(one.tolist()) & set(other.tolist())) < 0.8 * len(set(one.tolist()))
    assert abs(np.corrcoef(np.arange(6000), lengths[one[:6000]])[0, 1]) < 0.1


def test_every_part_of_the_lengths_has_its_share_of_an_epoch() -> None:
    lengths, source = np.random.default_rng(0).permutation(8960), np.zeros(8960, np.int64)
    for epoch in range(3):
        drawn = epoch_rows(source, rows=[4900], seed=0, epoch=epoch, lengths=lengths)
        counts = np.bincount(lengths[drawn] * 70 // 8960)  # the root of 4900
        assert counts.max() - counts.min() <= 5


def test_an_epoch_is_a_function_of_seed_and_number_and_is_shared_by_the_ranks() -> None:
    source = np.repeat([0, 1], [90, 10])
    mixture = Mixture(source, [50, 50])
    lengths = [9] * 100

    def batches(rank: int, world: int, size: int, epoch: int) -> list[list[int]]:
        return list(
            training_batches(
                lengths,
                batch_size=size,
                seed=1,
                epoch=epoch,
                rank=rank,
                world_size=world,
                mixture=mixture,
            )
        )

    one, two = batches(0, 1, 8, 2), [batches(rank, 2, 4, 2) for rank in range(2)]
    assert one == batches(0, 1, 8, 2) != batches(0, 1, 8, 3)
    assert [sorted(left + right) for left, right in zip(*two, strict=True)] == [
        sorted(batch) for batch in one
    ]
    rows = [row for batch in one for row in batch]
    assert np.bincount(source[rows]).tolist() == [50, 50]
    mixed = sum({0, 1} == set(source[batch].tolist()) for batch in one)
    assert mixed > len(one) / 2, "sources meet in the same batches"
