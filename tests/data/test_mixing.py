from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mtl.data.batching import Mixture, training_batches
from lit_mtl.data.mixing import Mixing, epoch_rows, source_rows
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
)
def test_no_row_is_drawn_a_second_time_more_often_than_another(
    sizes: list[int], counts: list[int], epochs: int
) -> None:
    counts = counts[: len(sizes)]
    counts[0] += 1
    source = np.repeat(np.arange(len(sizes)), sizes)
    drawn: Counter[int] = Counter()
    for epoch in range(epochs):
        rows = epoch_rows(source, rows=counts, seed=3, epoch=epoch)
        assert np.bincount(source[rows], minlength=len(sizes)).tolist() == counts
        drawn.update(rows.tolist())
    for number in range(len(sizes)):
        times = [drawn[row] for row in np.flatnonzero(source == number).tolist()]
        assert max(times) - min(times) <= 1


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
