import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from lit_mtl.embedding_health import (
    kept_similarity,
    mean_cosine,
    neighbour_purity,
    pair_correlation,
)


def cloud(seed: int, rows: int = 20, size: int = 5) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def test_the_mean_cosine_is_that_of_different_sentences_by_hand() -> None:
    root = math.sqrt(0.5)
    vectors = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    assert mean_cosine(vectors) == pytest.approx((0 + root + root) / 3)
    assert mean_cosine(torch.tensor([[1.0, 0.0], [-4.0, 0.0]])) == pytest.approx(-1)


def test_a_narrow_cone_is_told_from_a_spread_cloud() -> None:
    assert abs(mean_cosine(cloud(0, rows=300, size=64))) < 0.05
    assert mean_cosine(cloud(0, rows=300, size=64) + 10) > 0.9


@given(st.integers(0, 1000), st.floats(0.1, 100))
def test_what_is_turned_and_scaled_keeps_its_similarities(seed: int, scale: float) -> None:
    vectors = cloud(seed).double()
    turn, _ = torch.linalg.qr(cloud(seed + 1, rows=9, size=5).double())  # into nine dimensions
    assert kept_similarity(scale * vectors @ turn.T, vectors) == pytest.approx(1, abs=1e-6)


def test_another_space_keeps_nothing_and_half_of_one_keeps_some() -> None:
    vectors = cloud(0, rows=200, size=64)
    assert abs(kept_similarity(cloud(1, rows=200, size=64), vectors)) < 0.05
    assert 0.5 < kept_similarity(vectors[:, :32], vectors) < 0.9


def test_similarities_and_pairs_agree_with_scipy() -> None:
    one, other = cloud(0), cloud(1, size=3)
    unit = [torch.nn.functional.normalize(part.double(), dim=1) for part in (one, other)]
    pairs = [[float(part[i] @ part[j]) for i in range(20) for j in range(i)] for part in unit]
    assert kept_similarity(one, other) == pytest.approx(spearmanr(*pairs).statistic, abs=1e-6)
    scores = torch.tensor([0.0, 1.0, 1.0, 5.0])  # with a tie
    cosines = torch.tensor([0.1, -0.2, 0.4, 0.3])
    expected = spearmanr(cosines.numpy(), scores.numpy()).statistic
    assert pair_correlation(cosines, scores) == pytest.approx(expected, abs=1e-6)


def test_purity_is_that_of_the_nearest_other_sentence() -> None:
    vectors = torch.tensor([[1.0, 0.0], [9.0, 1.0], [0.0, 1.0], [1.0, 8.0]])
    found, chance = neighbour_purity(vectors, torch.tensor([0, 0, 1, 1]))
    assert (found, chance) == pytest.approx((1, 1 / 3))
    assert neighbour_purity(vectors, torch.tensor([0, 1, 0, 1])).found == 0.0


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40))
def test_the_chance_is_that_of_a_random_other_sentence(labels: list[int]) -> None:
    pairs = [a == b for i, a in enumerate(labels) for j, b in enumerate(labels) if i != j]
    found = neighbour_purity(cloud(0, rows=len(labels)), torch.tensor(labels))
    assert found.chance == pytest.approx(sum(pairs) / len(pairs))


def test_vectors_that_are_no_numbers_have_no_nearest_one() -> None:
    vectors = torch.full((4, 2), torch.nan)
    assert math.isnan(neighbour_purity(vectors, torch.tensor([0, 0, 1, 1])).found)
