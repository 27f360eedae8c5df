import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DistributedSampler

from lit_mtl.data.batching import (
    LengthGroupedSampler,
    evaluation_batches,
    training_batches,
    training_steps,
)
from lit_mtl.errors import DataError

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=150)


@given(LENGTHS, st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_every_row_comes_once_and_ranks_agree_on_the_number_of_batches(
    lengths: list[int], batch_size: int, world_size: int, epoch: int
) -> None:
    if len(lengths) < world_size:
        with pytest.raises(DataError, match="each of"):
            training_steps(len(lengths), batch_size=batch_size, world_size=world_size)
        return
    ranks = [
        list(
            training_batches(
                lengths,
                batch_size=batch_size,
                seed=1,
                epoch=epoch,
                rank=rank,
                world_size=world_size,
            )
        )
        for rank in range(world_size)
    ]
    rows = sorted(row for rank in ranks for batch in rank for row in batch)
    assert rows == list(range(len(lengths)))
    steps = training_steps(len(lengths), batch_size=batch_size, world_size=world_size)
    assert {len(rank) for rank in ranks} == {steps}
    sizes = [len(batch) for rank in ranks for batch in rank]
    assert min(sizes) >= 1
    assert max(sizes) <= batch_size + 1
    for rank in ranks:
        assert max(map(len, rank)) - min(map(len, rank)) <= 1


def test_the_order_is_a_pure_function_of_seed_and_epoch() -> None:
    lengths = list(range(1, 101))
    first = list(training_batches(lengths, batch_size=8, seed=3, epoch=2))
    assert first == list(training_batches(lengths, batch_size=8, seed=3, epoch=2))
    assert first != list(training_batches(lengths, batch_size=8, seed=3, epoch=3))
    assert first != list(training_batches(lengths, batch_size=8, seed=4, epoch=2))


def test_two_ranks_share_the_batches_of_one_process() -> None:
    lengths = [1 + (7 * row) % 40 for row in range(100)]
    one = training_batches(lengths, batch_size=8, seed=0, epoch=1)
    two = [
        training_batches(lengths, batch_size=4, seed=0, epoch=1, rank=rank, world_size=2)
        for rank in range(2)
    ]
    assert [sorted(batch) for batch in one] == [
        sorted(left + right) for left, right in zip(*two, strict=True)
    ]


def padding(lengths: list[int], batches: list[list[int]]) -> float:
    padded = sum(max(lengths[row] for row in batch) * len(batch) for batch in batches)
    return 1 - sum(lengths) / padded


def test_rows_of_similar_length_meet_and_others_too_over_the_epochs() -> None:
    lengths = np.random.default_rng(0).geometric(0.05, size=4000).clip(3, 128).tolist()
    plain = np.array_split(np.random.default_rng(1).permutation(4000), 125)
    grouped = list(training_batches(lengths, batch_size=32, seed=0, epoch=0))
    assert padding(lengths, grouped) < 0.1 < 0.4 < padding(lengths, [list(b) for b in plain])
    other = list(training_batches(lengths, batch_size=32, seed=0, epoch=1))
    partners = [next(set(batch) for batch in batches if 0 in batch) for batches in (grouped, other)]
    assert partners[0] != partners[1]


def test_sorted_files_do_not_give_sorted_batches() -> None:
    lengths = [10] * 1000
    for batch in training_batches(lengths, batch_size=32, seed=0, epoch=0):
        assert min(batch) < 400
        assert max(batch) > 600


@given(LENGTHS, st.integers(1, 9), st.integers(1, 4))
def test_evaluation_leaves_no_row_out_and_gives_every_rank_work(
    lengths: list[int], batch_size: int, world_size: int
) -> None:
    ranks = [
        list(evaluation_batches(lengths, batch_size=batch_size, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert all(ranks)
    rows = [row for rank in ranks for batch in rank for row in batch]
    assert set(rows) == set(range(len(lengths)))
    assert len(rows) == max(len(lengths), len(set(rows)) + max(0, world_size - len(lengths)))


@given(LENGTHS, st.integers(1, 9), st.integers(1, 4), st.sampled_from([None, 0]))
def test_the_length_of_a_sampler_is_that_of_its_batches(
    lengths: list[int], batch_size: int, world_size: int, seed: int | None
) -> None:
    if seed is not None and len(lengths) < world_size:
        return
    for rank in range(world_size):
        sampler = LengthGroupedSampler(
            lengths, batch_size=batch_size, seed=seed, rank=rank, world_size=world_size
        )
        assert len(sampler) == len(list(sampler))


def test_the_sampler_follows_the_epoch_and_is_left_alone_by_lightning() -> None:
    sampler = LengthGroupedSampler([5] * 50, batch_size=8, seed=0)
    first = list(sampler)
    assert len(first) == len(sampler) == 7
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert isinstance(sampler, DistributedSampler)
    assert list(LengthGroupedSampler([1, 3, 2], batch_size=2, seed=None)) == [[1, 2], [0]]
