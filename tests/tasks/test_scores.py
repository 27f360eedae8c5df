"""What all tasks with scores share: range, unit and metrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import RatingDistribution, Regression, RegressionWithSpread
from lit_mtl.tasks.scores import ScoreTask, correlations, histogram

Kind = type[Regression] | type[RegressionWithSpread] | type[RatingDistribution]

KINDS: list[Kind] = [Regression, RegressionWithSpread, RatingDistribution]


@pytest.mark.parametrize(
    ("kind", "least"), [(Regression, -1.5), (RegressionWithSpread, -1.5), (RatingDistribution, -1)]
)
def test_ends_that_are_not_declared_are_measured(kind: Kind, least: float) -> None:
    values = ["3", str(least), "nonsense", "7"]
    for declared, expected in (
        (kind(), (least, 7.0)),
        (kind(low=-5), (-5, 7.0)),
        (kind(high=9), (least, 9)),
    ):
        assert declared.is_open
        with pytest.raises(ConfigError, match="not known before its data"):
            _ = declared.range
        found: ScoreTask = declared.resolve(values)
        assert (found.range, found.is_open) == (expected, False)
        with pytest.raises(ValueError, match="expected a number"):
            found.encode("nonsense")
    closed = kind(low=0, high=1)
    assert closed.resolve(values) is closed


def test_a_constant_column_has_no_range() -> None:
    with pytest.raises(ConfigError, match=r"differ.*2 to 2"):
        Regression().resolve(["2", "2.0"])
    with pytest.raises(ConfigError, match="low=5"):
        Regression(low=5).resolve(["2", "3"])


def test_a_measured_range_is_no_other_output_but_a_declared_one_is() -> None:
    one, other = Regression().resolve(["1", "5"]), Regression().resolve(["2", "3"])
    assert one != other
    assert one.same_outputs(other)
    assert not one.same_outputs(Regression(low=1, high=5))


@pytest.mark.parametrize("kind", KINDS)
def test_an_interval_that_is_none_is_refused(
    kind: Kind,
) -> None:
    for coverage in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="`coverage` to be in"):
            kind(coverage=coverage)
    for radius in (-1.0, float("nan")):
        with pytest.raises(ConfigError, match="`radius` to be at least 0"):
            kind(radius=radius)


@pytest.mark.parametrize("kind", [Regression, RegressionWithSpread])
@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_a_fitted_interval_holds_new_scores_as_often_as_promised(
    kind: type[Regression] | type[RegressionWithSpread], coverage: float
) -> None:
    """Whatever the errors are; the head's spreads here are wrong by a factor that varies."""
    task = kind(low=-50, high=50, center=0.0, scale=1.0, coverage=coverage)
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(4000, task.output_dim, generator=generator)
    error = torch.empty(4000).cauchy_(generator=generator) * (1 + output[:, 0].square())
    score = (output[:, 0] + error).clamp(-50, 50)
    pair = torch.stack([score, score * 0, score * 0 + 1], dim=-1)
    target = pair if task.target_shape else score
    fitted: ScoreTask = task.calibrate(output[::2], target[::2])
    interval = fitted.interval(fitted.predict(output[1::2]))
    assert interval is not None
    new = score[1::2]
    held = ((interval[:, 0] <= new) & (new <= interval[:, 1])).double()
    assert float(held.mean()) == pytest.approx(coverage, abs=0.03)
    stated, came_true = fitted.claims(output[1::2], target[1::2])
    assert set(stated.tolist()) == {coverage}
    assert torch.equal(came_true, held)
    assert task.calibrate(output[:0], target[:0]) is task
    assert replace(fitted, radius=None) == task


def test_a_column_without_a_number_is_left_to_the_reader_of_its_lines() -> None:
    task = Regression().resolve(["a", "b"])
    with pytest.raises(ValueError, match="expected a number"):
        task.encode("a")


def test_correlations_agree_with_scipy_and_need_variation() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=50), random.normal(size=50).round(1)
    found = correlations(torch.tensor(one), torch.tensor(other))
    assert found["pearson"] == pytest.approx(pearsonr(one, other).statistic)
    assert found["spearman"] == pytest.approx(spearmanr(one, other).statistic, abs=1e-5)
    for values in (torch.zeros(3), torch.tensor([1.0, float("nan"), 2.0])):
        assert correlations(values, torch.arange(3.0)) == {"pearson": None, "spearman": None}


@pytest.mark.parametrize(("unit", "center"), [(1e-9, 0.0), (1e-30, 0.0), (1e9, 0.0), (1.0, 1e3)])
def test_correlations_do_not_depend_on_the_unit(unit: float, center: float) -> None:
    one, other = torch.randn(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = correlations(center + unit * one, other)
    assert found == pytest.approx(correlations(one, other), abs=1e-9)
    rounding = torch.full((50,), 0.3) + 3e-8 * one.float()
    assert correlations(rounding, other)["pearson"] is None


def test_a_histogram_counts_every_score_once() -> None:
    bins = histogram(np.array([0.0, 0.1, 8.0, 7.9, 4.0]))
    assert [b["count"] for b in bins] == [2, 0, 0, 0, 1, 0, 0, 2]
    assert (bins[0]["from"], bins[-1]["to"]) == (0.0, 8.0)
    assert histogram(np.array([2.0, 2.0])) == [{"from": 2.0, "to": 2.0, "count": 2}]


def test_scores_that_differ_by_less_than_they_are_rounded_are_refused() -> None:
    stamps = [str(1_700_000_000_000 + number) for number in range(10_000)]
    with pytest.raises(ConfigError, match="Subtract what they have in common"):
        Regression().resolve(stamps)
    assert Regression().resolve([str(1_000_000 + number) for number in range(100)]).span
    with pytest.raises(ConfigError, match="`low` < `high`"):
        Regression(low=0, high=1e39)
