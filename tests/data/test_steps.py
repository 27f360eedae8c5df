"""Windows are cut from lengths by hand; what batches are made of them is tested in test_batching."""

import numpy as np
import pytest

from lit_mtl.data.steps import Window, budget_windows, training_steps
from lit_mtl.errors import DataError


def windows(
    lengths: list[int], tokens: int, *, batch_size: int = 100, world_size: int = 1
) -> list[Window]:
    return budget_windows(
        np.array(lengths), tokens=tokens, batch_size=batch_size, world_size=world_size
    )


def test_rows_of_one_length_are_one_window_of_full_batches() -> None:
    assert windows([10] * 100, 100) == [Window(0, 100, 10)]
    assert windows([10] * 100, 109) == [Window(0, 100, 10)]
    assert windows([10] * 100, 100, batch_size=5) == [Window(0, 100, 20)]


def test_a_window_ends_where_its_padding_would_be_a_fifth_of_a_batch() -> None:
    # a second batch of ten rows, two tokens shorter each, is padded by 20; three shorter, by 30
    assert windows([10] * 10 + [8] * 10, 100) == [Window(0, 20, 2)]
    assert windows([10] * 10 + [7] * 14, 100) == [Window(0, 10, 1), Window(10, 24, 1)]


def test_there_is_no_small_last_batch() -> None:
    assert windows([10] * 101, 100) == [Window(0, 101, 11)]
    # too short for the window before, but fewer rows than its batches have
    assert windows([10] * 10 + [2] * 10, 100) == [Window(0, 20, 2)]
    assert windows([10] * 10 + [2] * 11, 100) == [Window(0, 10, 1), Window(10, 21, 1)]
    # half a batch of their own
    assert windows([10] * 10 + [5] * 10, 100) == [Window(0, 10, 1), Window(10, 20, 1)]


def test_a_row_that_is_too_long_is_alone() -> None:
    assert windows([50, 10, 10, 10], 30) == [Window(0, 1, 1), Window(1, 4, 1)]


def test_the_largest_windows_are_cut_further_until_every_rank_has_as_many_batches() -> None:
    lengths = [20] * 10 + [10] * 30
    assert windows(lengths, 100) == [Window(0, 10, 2), Window(10, 40, 3)]
    assert windows(lengths, 100, world_size=2) == [Window(0, 10, 2), Window(10, 40, 4)]
    assert windows(lengths, 100, world_size=7) == [Window(0, 10, 2), Window(10, 40, 5)]
    # a window of single rows cannot be cut
    assert windows([90] * 4 + [5] * 2, 100, world_size=6) == [Window(0, 4, 4), Window(4, 6, 2)]
    # where there are too few rows, some batches have one too many
    assert windows([30] * 5, 40, world_size=4) == [Window(0, 5, 4)]


def test_fewer_rows_than_processes_are_refused() -> None:
    with pytest.raises(DataError, match="each of 3 processes, got 2"):
        windows([5, 5], 40, world_size=3)
    with pytest.raises(DataError, match="each of 3 processes, got 2"):
        training_steps(2, batch_size=4, world_size=3)
    assert training_steps(9, batch_size=4, world_size=2) == 2
    assert training_steps(5, batch_size=1, world_size=4) == 1
