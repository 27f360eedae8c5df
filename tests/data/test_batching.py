from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

from lit_mtl.data.batching import (
    LengthGroupedSampler,
    Mixture,
    evaluation_batches,
    planned_windows,
    training_batches,
)
from lit_mtl.data.mixing import source_rows
from lit_mtl.data.steps import training_steps
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


def realistic_lengths(rows: int) -> NDArray[np.int32]:
    """Log-normal, 3 to 128 tokens: a median of 20, a mean of 24, few long ones."""
    drawn = np.random.default_rng(0).normal(np.log(20), 0.6, size=rows)
    return np.exp(drawn).round().clip(3, 128).astype(np.int32)


def budgeted(
    lengths: Sequence[int] | NDArray[np.int32],
    batch_tokens: int,
    *,
    batch_size: int = 1000,
    world_size: int = 1,
    epoch: int = 0,
    seed: int = 1,
    mixture: Mixture | None = None,
) -> list[list[list[int]]]:
    """The batches of every rank."""
    samplers = [
        LengthGroupedSampler(
            lengths,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            seed=seed,
            rank=rank,
            world_size=world_size,
            mixture=mixture,
        )
        for rank in range(world_size)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return [list(sampler) for sampler in samplers]


@given(LENGTHS, st.integers(1, 200), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_a_budget_is_kept_and_every_row_comes_once(
    lengths: list[int], tokens: int, most: int, world_size: int, epoch: int
) -> None:
    if len(lengths) < world_size:
        with pytest.raises(DataError, match="each of"):
            budgeted(lengths, tokens, world_size=world_size)
        return
    ranks = budgeted(lengths, tokens, batch_size=most, world_size=world_size, epoch=epoch)
    assert sorted(row for rank in ranks for batch in rank for row in batch) == list(
        range(len(lengths))
    )
    first = budgeted(lengths, tokens, batch_size=most, world_size=world_size)
    assert {len(rank) for rank in ranks} == {len(rank) for rank in first}
    assert len({len(rank) for rank in ranks}) == 1
    batches = [batch for rank in ranks for batch in rank]
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        kept = len(batch) <= most and len(batch) * longest <= tokens
        # one row too many only where the ranks need more batches than there are rows
        few = len(batch) == 2 and len(batches) + world_size > len(lengths)
        assert kept or len(batch) == 1 or few


def test_a_budget_pads_little_and_fills_its_batches() -> None:
    lengths = realistic_lengths(10_000)
    for world_size in (1, 4):
        ranks = budgeted(lengths, 768, world_size=world_size)
        batches = [batch for rank in ranks for batch in rank]
        assert padding(lengths.tolist(), batches) < 0.03
        assert len(batches) < 1.06 * lengths.sum() / 768
        assert max(map(len, batches)) > 5 * min(map(len, batches))
        costs = np.array([[len(batch) * lengths[batch].max() for batch in rank] for rank in ranks])
        assert costs.max(axis=0).sum() < 1.01 * costs.mean(axis=0).sum(), "no rank waits long"
    fixed = list(training_batches(lengths, batch_size=32, seed=0, epoch=0))
    assert padding(lengths.tolist(), fixed) > 0.06


def test_which_rows_share_a_budget_is_drawn_anew_each_epoch() -> None:
    lengths = realistic_lengths(10_000)
    number = np.empty((2, 10_000), np.int64)
    for epoch in (0, 1):
        for place, batch in enumerate(budgeted(lengths, 768, epoch=epoch)[0]):
            number[epoch, batch] = place
    again = []
    for batch in budgeted(lengths, 768)[0]:
        _, counts = np.unique(number[1, batch], return_counts=True)
        again.append(float((counts * (counts - 1)).sum() / max(len(batch) - 1, 1)))
    assert sum(again) / len(lengths) < 0.1, "nine in ten of a row's companions are new"
    steps = [lengths[batch].max() for batch in budgeted(lengths, 768)[0]]
    assert abs(np.corrcoef(np.arange(len(steps)), steps)[0, 1]) < 0.2, "long and short take turns"


def test_a_budget_is_a_pure_function_and_goes_on_from_any_batch() -> None:
    lengths = realistic_lengths(300)
    for mixture in (None, Mixture(np.arange(300) % 3, [50, 150, 100])):
        options: Any = {"batch_tokens": 128, "batch_size": 9, "mixture": mixture, "world_size": 2}
        whole = budgeted(lengths, 128, batch_size=9, world_size=2, epoch=2, mixture=mixture)
        assert whole == budgeted(lengths, 128, batch_size=9, world_size=2, epoch=2, mixture=mixture)
        for change in ({"epoch": 3}, {"epoch": 2, "seed": 2}):
            other: Any = {"batch_size": 9, "world_size": 2, "mixture": mixture, **change}
            assert budgeted(lengths, 128, **other) != whole
        for rank in (0, 1):
            for done in range(len(whole[rank]) + 1):
                sampler = LengthGroupedSampler(
                    lengths, seed=1, rank=rank, start=(2, done), **options
                )
                assert list(sampler) == whole[rank][done:]
                assert len(sampler) == len(whole[rank])
                sampler.set_epoch(3)
                assert len(list(sampler)) == len(whole[rank])


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2)), min_size=3, max_size=150),
    st.integers(1, 30),
    st.integers(60, 300),
    st.integers(1, 3),
)
def test_a_mixture_keeps_the_budget_and_the_number_of_batches_in_every_epoch(
    rows: list[tuple[int, int]], temperature: int, tokens: int, world_size: int
) -> None:
    lengths, source = [length for length, _ in rows], np.array([number for _, number in rows])
    counts = source_rows(
        np.bincount(source).tolist(), mixing="temperature", temperature=temperature, weights=[]
    )
    mixture = Mixture(source, counts)
    windows = planned_windows(
        lengths, batch_tokens=tokens, batch_size=1000, world_size=world_size, mixture=mixture
    )
    for epoch in range(4):
        ranks = budgeted(lengths, tokens, world_size=world_size, epoch=epoch, mixture=mixture)
        total = sum(window.batches for window in windows)
        assert {len(rank) * world_size for rank in ranks} == {total}
        batches = [batch for rank in ranks for batch in rank]
        drawn = [row for batch in batches for row in batch]
        assert np.bincount(source[drawn], minlength=len(counts)).tolist() == counts
        for batch in batches:
            longest = max(lengths[row] for row in batch)
            few = len(batch) == 2 and len(batches) + world_size > len(lengths)
            assert len(batch) * longest <= tokens or few


def test_a_mixture_fills_its_batches_nearly_as_well() -> None:
    lengths = realistic_lengths(10_000)
    source = np.repeat([0, 1], [9000, 1000])
    batches = budgeted(lengths, 768, mixture=Mixture(source, [7000, 3000]))[0]
    rows = [row for batch in batches for row in batch]
    assert len(batches) < 1.15 * lengths[rows].sum() / 768
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert 1 - lengths[rows].sum() / padded < 0.04


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


def test_a_sampler_knows_its_share_of_padding() -> None:
    lengths = realistic_lengths(500)
    for tokens in (None, 256):
        sampler = LengthGroupedSampler(lengths, batch_size=16, batch_tokens=tokens, seed=0)
        assert sampler.padding() == pytest.approx(padding(lengths.tolist(), list(sampler)))
    # a budget is one of training alone
    assert len(LengthGroupedSampler(lengths, batch_size=16, batch_tokens=256, seed=None)) == 32


def test_the_sampler_follows_the_epoch_and_is_left_alone_by_lightning() -> None:
    sampler = LengthGroupedSampler([5] * 50, batch_size=8, seed=0)
    first = list(sampler)
    assert len(first) == len(sampler) == 7
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert isinstance(sampler, DistributedSampler)
    assert list(LengthGroupedSampler([1, 3, 2], batch_size=2, seed=None)) == [[1, 2], [0]]


def test_the_first_batches_of_an_evaluation_are_a_sample_of_all() -> None:
    lengths = list(range(1, 1001))
    batches = list(evaluation_batches(lengths, batch_size=10))
    assert batches[0] == list(range(999, 989, -1)), "what takes most memory comes first"
    first = [lengths[row] for batch in batches[1:21] for row in batch]
    assert sum(first) / len(first) == pytest.approx(500, rel=0.25)
    assert batches == list(evaluation_batches(lengths, batch_size=10))
