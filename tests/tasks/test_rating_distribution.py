from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy, pearsonr, wasserstein_distance

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import RatingDistribution, RegressionWithSpread

TASK = RatingDistribution(low=-2, high=2)
FITTED = replace(TASK, prior=(0.4, 0.1, 0.1, 0.3, 0.1))
LEVELS = np.arange(-2, 3)

RATINGS = st.lists(st.integers(-2, 2), min_size=1, max_size=6)


def encoded(ratings: list[int]) -> tuple[float, ...]:
    return TASK.encode("|".join(map(str, ratings)))


def random_rows(rows: int = 40) -> tuple[torch.Tensor, list[list[int]], torch.Tensor]:
    random = np.random.default_rng(0)
    output = torch.tensor(random.normal(size=(rows, 5)))
    ratings = [random.integers(-2, 3, size=1 + row % 5).tolist() for row in range(rows)]
    return output, ratings, torch.tensor([encoded(each) for each in ratings], dtype=torch.float64)


@given(st.lists(RATINGS, min_size=1, max_size=5))
def test_the_ratings_of_all_rows_are_counted(groups: list[list[int]]) -> None:
    every = [rating for group in groups for rating in group]
    merged = TASK.merge([encoded(group) for group in groups])
    assert merged == tuple(Counter(every)[level] for level in range(-2, 3))
    assert merged == encoded(every)
    target = torch.tensor([merged])
    assert float(TASK.true_score(target)) == pytest.approx(np.mean(every), abs=1e-6)
    assert TASK.describe(merged) == RegressionWithSpread(low=-2, high=2).describe(
        (float(np.mean(every)), float(np.var(every)), len(every))
    )


def test_the_loss_is_the_divergence_from_the_ratings_shares() -> None:
    output, _, target = random_rows()
    for task, prior in ((TASK, np.full(5, 0.2)), (FITTED, np.array(FITTED.prior))):
        likelihood = np.exp(output.numpy()) * prior
        expected = entropy(target.numpy(), likelihood, axis=1)
        assert task.row_loss(output, target).numpy() == pytest.approx(expected)
        predicted = likelihood / likelihood.sum(axis=1, keepdims=True)
        assert task.predict(output).numpy() == pytest.approx(predicted)


def test_the_loss_is_zero_where_the_shares_are_met_and_counts_no_sentence_twice() -> None:
    target = torch.tensor([[1.0, 0, 2, 0, 1], [3.0, 0, 6, 0, 3]])
    shares = torch.tensor([[0.25, 1e-9, 0.5, 1e-9, 0.25]] * 2)
    output = (shares.log() - torch.tensor(FITTED.prior).log()).requires_grad_()
    loss = FITTED.row_loss(output, target)
    assert loss.tolist() == pytest.approx([0, 0], abs=1e-6)
    loss.sum().backward()
    assert output.grad is not None
    assert output.grad.abs().max() < 1e-6


def test_an_output_of_zero_is_the_distribution_of_the_training_ratings() -> None:
    """Each sentence counts the same; a level that nobody chose keeps a little."""
    targets = [encoded(each) for each in ([-2, -2, -2, -2], [0], [0, 1])]
    task = TASK.fit(targets)
    assert task == TASK.fit(np.array(targets))
    expected = np.array([1, 0, 1.5, 0.5, 0]) / 4 + np.full(5, 0.2) / 4
    assert task.predict(torch.zeros(1, 5))[0].tolist() == pytest.approx(expected)
    assert TASK.fit([]) == TASK
    with pytest.raises(ValueError, match=r"expected at least one rating; found '\[\]'"):
        TASK.encode("[]")
    assert FITTED.fit(targets) is FITTED


def test_metrics_agree_with_scipy() -> None:
    output, ratings, target = random_rows()
    predicted = FITTED.predict(output).numpy()
    found = FITTED.metrics(output, target)
    means, spreads = predicted @ LEVELS, []
    for row, mean in zip(predicted, means, strict=True):
        spreads.append(np.sqrt(row @ (LEVELS - mean) ** 2))
    several = [place for place, each in enumerate(ratings) if len(each) > 1]
    observed = [np.std(ratings[place], ddof=1) for place in several]
    distances = [
        wasserstein_distance(LEVELS, each, u_weights=row)
        for row, each in zip(predicted, ratings, strict=True)
    ]
    likelihoods = [
        np.mean([np.log(row[rating + 2]) for rating in each])
        for row, each in zip(predicted, ratings, strict=True)
    ]
    assert found["pearson"] == pytest.approx(pearsonr(means, list(map(np.mean, ratings))).statistic)
    assert found["spread_pearson"] == pytest.approx(
        pearsonr([spreads[place] for place in several], observed).statistic
    )
    assert found["wasserstein"] == pytest.approx(np.mean(distances))
    assert found["nll"] == pytest.approx(-np.mean(likelihoods))
    nothing = FITTED.metrics(output[:0], target[:0])
    assert set(nothing) == set(found)
    assert set(nothing.values()) == {None}


def test_a_prediction_has_score_spread_and_shares_and_a_known_interval() -> None:
    prediction = torch.tensor([[0.5, 0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0, 1.0]])
    assert TASK.decode(prediction[0]) == {
        "score": 0.0,
        "spread": 2.0,
        "shares": {"-2": 0.5, "-1": 0.0, "0": 0.0, "1": 0.0, "2": 0.5},
    }
    task = replace(TASK, radius=0.5)
    interval = task.interval(prediction)
    assert interval is not None
    assert interval[0].tolist() == [-1.0, 1.0]
    assert task.decode(prediction[0])["interval"] == [-1.0, 1.0]
    low, high = interval[1].tolist()
    assert low < high == 2.0


def test_a_fitted_interval_holds_mean_ratings_as_often_as_promised() -> None:
    generator = torch.Generator().manual_seed(0)
    output = 2 * torch.randn(4000, 5, generator=generator)
    drawn = torch.multinomial((output / 2).softmax(-1), 3, replacement=True, generator=generator)
    target = torch.nn.functional.one_hot(drawn, 5).sum(dim=1).float()
    task = TASK.calibrate(output[::2], target[::2])
    stated, came_true = task.claims(output[1::2], target[1::2])
    assert set(stated.tolist()) == {0.9}
    assert float(came_true.mean()) == pytest.approx(0.9, abs=0.02)


def test_levels_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"whole levels.*regression_with_spread"):
        RatingDistribution(low=0.5, high=3)
    with pytest.raises(ConfigError, match=r"at most 101 levels, but got 102"):
        RatingDistribution(low=0, high=101)
    for prior in ((0.5, 0.5), (0.5, 0.5, 0.0, 0.0, 0.0)):
        with pytest.raises(ConfigError, match="a share above 0 for each level"):
            RatingDistribution(low=-2, high=2, prior=prior)
    with pytest.raises(ConfigError, match="So many are of"):
        RatingDistribution().resolve(["0", "1000"])


def test_other_levels_are_other_outputs() -> None:
    one, other = (RatingDistribution().resolve(cells) for cells in (["1", "5"], ["1", "4"]))
    assert not one.same_outputs(other)
    assert one.same_outputs(RatingDistribution(low=1, high=5))
