import math
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from lit_mtl.tasks import RegressionWithSpread
from lit_mtl.tasks.base import Target
from lit_mtl.tasks.regression_with_spread import pooled

OPEN = RegressionWithSpread(low=-10, high=10)
TASK = RegressionWithSpread(low=-10, high=10, center=1.0, scale=2.0)

RATINGS = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=1, max_size=6)


def encoded(ratings: list[float]) -> tuple[float, ...]:
    return TASK.encode("|".join(map(str, ratings)))


def random_rows(rows: int = 60) -> tuple[torch.Tensor, list[list[float]]]:
    random = np.random.default_rng(0)
    output = random.normal(size=(rows, 2))
    ratings = [
        np.clip(random.normal(1 + 2 * out[0], 1 + row % 3, size=1 + row % 5), -10, 10).tolist()
        for row, out in enumerate(output)
    ]
    return torch.tensor(output), ratings


@given(st.lists(RATINGS, min_size=1, max_size=5))
def test_merged_rows_have_the_moments_of_all_their_ratings(groups: list[list[float]]) -> None:
    every = [rating for group in groups for rating in group]
    mean, variance, count = pooled([encoded(group) for group in groups])
    assert TASK.merge([encoded(group) for group in groups]) == (mean, variance, count)
    assert count == len(every)
    assert mean == pytest.approx(np.mean(every), abs=1e-12)
    assert variance == pytest.approx(np.var(every), abs=1e-11)


def test_equal_ratings_have_no_spread_at_all() -> None:
    assert encoded([0.1] * 3) == (0.1, 0.0, 3.0)
    assert TASK.merge([encoded([0.1] * 3), encoded([0.1])]) == (0.1, 0.0, 4.0)


def test_row_loss_is_the_mean_likelihood_of_single_ratings() -> None:
    output, ratings = random_rows()
    target = torch.tensor([encoded(group) for group in ratings], dtype=torch.float64)
    found = TASK.row_loss(output, target)
    prediction = TASK.predict(output)
    for row, group in enumerate(ratings):
        spread = 2 * math.exp(4 * math.tanh(float(output[row, 1]) / 8))
        mean = 1 + 2 * float(output[row, 0])
        assert prediction[row].tolist() == pytest.approx([mean, spread])
        density = norm.logpdf(group, loc=mean, scale=spread)
        constant = math.log(2 * math.pi) / 2 + math.log(2)
        assert float(found[row]) + constant == pytest.approx(-density.mean())


def test_the_loss_is_finite_with_a_gradient_whatever_the_head_says() -> None:
    output = torch.tensor([[0.0, -1e4], [1e3, 1e4], [0.0, 0.0]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0, 1.0], [9.0, 4.0, 3.0], [1.0, 0.0, 5.0]])
    loss = TASK.row_loss(output, target)
    loss.sum().backward()
    assert output.grad is not None
    assert bool(loss.isfinite().all() and output.grad.isfinite().all())
    assert float(loss.detach().min()) == pytest.approx(-4.0)


def test_fitting_lets_the_loss_begin_at_one_half_whatever_the_unit() -> None:
    for unit in (0.01, 1.0):
        targets = [OPEN.encode(cell) for cell in ("1|3", "5", "[2, 2, 8]", "-4|-5")]
        scaled: list[Target] = [(m * unit, v * unit**2, n) for m, v, n in targets]
        task = OPEN.fit(scaled)
        assert task == OPEN.fit(np.array(scaled))
        loss = task.row_loss(torch.zeros(4, 2), torch.tensor(scaled))
        assert float(loss.mean()) == pytest.approx(0.5)
        assert task.center == pytest.approx(unit * fmean([2, 5, 4, -4.5]))
    assert OPEN.fit([]) == OPEN
    declared = RegressionWithSpread(low=0, high=9, center=1.0, scale=7.0)
    assert declared.fit([(3.0, 1.0, 2.0)]) == declared


def test_metrics_agree_with_scipy_and_scikit_learn() -> None:
    output, ratings = random_rows()
    target = torch.tensor([encoded(group) for group in ratings], dtype=torch.float64)
    score, spread = TASK.predict(output).numpy().T
    mean = np.array([np.mean(group) for group in ratings])
    several = np.array([len(group) > 1 for group in ratings])
    observed = [stdev(group) for group in ratings if len(group) > 1]
    unclipped = output[:, 0].numpy() * 2 + 1
    density = [
        norm.logpdf(group, loc=m, scale=s).mean()
        for group, m, s in zip(ratings, unclipped, spread, strict=True)
    ]
    assert TASK.metrics(output, target) == pytest.approx(
        {
            "pearson": pearsonr(score, mean).statistic,
            "spearman": spearmanr(score, mean).statistic,
            "mae": mean_absolute_error(mean, score),
            "rmse": root_mean_squared_error(mean, score),
            "spread_pearson": pearsonr(spread[several], observed).statistic,
            "nll": -np.mean(density),
        },
        abs=1e-6,
    )


def test_metrics_are_none_where_the_rows_do_not_define_them() -> None:
    names = ("pearson", "spearman", "mae", "rmse", "spread_pearson", "nll")
    assert TASK.metrics(torch.zeros(0, 2), torch.zeros(0, 3)) == dict.fromkeys(names)
    output, _ = random_rows(3)
    single = torch.tensor([encoded([rating]) for rating in (1.0, 2.0, 4.0)])
    found = TASK.metrics(output.float(), single)
    assert found["spread_pearson"] is None
    assert found["pearson"] is not None


def test_scores_stay_in_the_range_and_are_decoded() -> None:
    prediction = TASK.predict(torch.tensor([[99.0, 0.0], [0.0, 0.0]]))
    assert prediction.tolist() == [[10.0, 2.0], [1.0, 2.0]]
    assert TASK.decode(prediction[1]) == {"score": 1.0, "spread": 2.0}


def test_the_interval_is_radius_spreads_wide_and_within_the_range() -> None:
    task = replace(TASK, radius=1.5)
    prediction = torch.tensor([[1.0, 2.0], [9.0, 0.5], [9.0, 2.0], [-8.0, 3.0]])
    assert TASK.interval(prediction) is None
    interval = task.interval(prediction)
    assert interval is not None
    assert interval.tolist() == [[-2, 4], [8.25, 9.75], [6, 10], [-10, -3.5]]
    decoded = task.decode(prediction[1])
    assert decoded == {"score": 9.0, "spread": 0.5, "interval": [8.25, 9.75]}


def test_the_radius_is_an_order_statistic_of_distances_in_spreads() -> None:
    """Nineteen rows whose distances are 1 to 19 spreads, whatever the spreads are."""
    distance = torch.arange(1.0, 20.0)
    spread = torch.linspace(0.01, 0.2, 19).flip(0)
    task = replace(TASK, center=0.0, scale=1.0)
    output = torch.stack([torch.zeros(19), 8 * (spread.log() / 4).atanh()], dim=-1)
    sign = torch.where(torch.arange(19) % 2 == 0, 1.0, -1.0)
    target = torch.stack([sign * distance * spread, torch.ones(19), torch.full((19,), 3.0)], dim=-1)
    assert task.calibrate(output, target).radius == pytest.approx(18.0, rel=1e-4)
    assert replace(task, coverage=0.5).calibrate(output, target).radius == pytest.approx(10.0)
    assert replace(task, coverage=0.96).calibrate(output, target).radius is None
    nine = replace(task, radius=9.5)
    stated, held = nine.claims(output, target)
    assert set(stated.tolist()) == {0.9}
    assert held.tolist() == [1] * 9 + [0] * 10
    # before it is fitted, the head's own normal distribution: 1.64 spreads to each side
    assert task.claims(output, target)[1].tolist() == [1] + [0] * 18


def test_cells_are_read_and_described() -> None:
    assert TASK.encode("[1, 3]") == TASK.encode("1|3") == (2.0, 1.0, 2.0)
    assert TASK.describe((2.0, 1.0, 2.0)) == "2 ± 1.41421 (2 ratings)"
    assert TASK.describe((2.5, 0.0, 1.0)) == "2.5 (1 rating)"
    assert TASK.summary([(2.0, 1.0, 2.0), (3.0, 0.0, 1.0)])["ratings"] == 3


@pytest.mark.parametrize("cell", ["[]", "1|11", "1||2", "[1, null]", "many", "[1,5", "1;2"])
def test_wrong_ratings_are_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        TASK.encode(cell)
