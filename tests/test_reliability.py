import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from lit_mtl.reliability import (
    calibration_error_by_chance,
    conformal_radius,
    expected_calibration_error,
    fit_temperature,
    folds,
)


def test_the_temperature_of_a_known_case_by_hand() -> None:
    """Three of four right at the logits (a, 0): the best T states 3/4, so a / T = log 3."""
    logits = torch.tensor([[6.0, 0.0]] * 4, dtype=torch.float64)
    target = torch.tensor([0, 0, 0, 1])
    found = fit_temperature(lambda t: float(functional.cross_entropy(logits / t, target)))
    assert found == pytest.approx(6 / math.log(3), rel=1e-5)


@given(factor=st.floats(0.2, 8), seed=st.integers(0, 10_000))
def test_scaling_the_logits_scales_the_temperature(factor: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(80, 3, generator=generator, dtype=torch.float64)
    target = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)

    def fitted(scale: float) -> float | None:
        return fit_temperature(
            lambda t: float(functional.cross_entropy(scale * logits / t, target))
        )

    one, scaled = fitted(1.0), fitted(factor)
    if one is None or scaled is None:
        return  # one of them lies outside of what is searched
    assert scaled == pytest.approx(factor * one, rel=1e-4)


def test_without_an_error_there_is_no_best_temperature_and_with_errors_alone_the_highest() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    for target, temperature in (([0, 1], None), ([1, 0], 20.0)):
        wanted = torch.tensor(target)
        found = fit_temperature(
            lambda t, y=wanted: float(functional.cross_entropy(logits / t, y))  # type: ignore[misc]
        )
        assert found == (temperature and pytest.approx(temperature))


def test_the_radius_is_the_order_statistic_of_split_conformal_prediction() -> None:
    residuals = torch.arange(1.0, 20.0)[torch.randperm(19)]  # 19 rows: (19 + 1) * 0.9 = 18
    assert conformal_radius(residuals, coverage=0.9) == 18.0
    assert conformal_radius(residuals, coverage=0.95) == 19.0
    assert conformal_radius(residuals, coverage=0.96) is None
    assert conformal_radius(torch.arange(9.0), coverage=0.9) == 8.0
    assert conformal_radius(torch.empty(0), coverage=0.5) is None


@given(st.integers(0, 10_000))
def test_the_radius_covers_new_rows_of_any_distribution_as_often_as_promised(seed: int) -> None:
    """Exact law: over both draws, coverage is k / (n + 1); here within noise of 4,000 new rows."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.empty(4999, dtype=torch.float64).cauchy_(generator=generator).abs()
    radius = conformal_radius(draws[:999], coverage=0.9)
    assert radius is not None
    assert float((draws[999:] <= radius).double().mean()) == pytest.approx(0.9, abs=0.05)


def test_the_calibration_error_by_hand() -> None:
    stated = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.55, 0.55])
    came_true = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    expected = 4 / 6 * abs(0.9 - 0.75) + 2 / 6 * abs(0.55 - 1.0)
    assert expected_calibration_error(stated, came_true) == pytest.approx(expected, rel=1e-6)
    assert expected_calibration_error(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])) == 0


@pytest.mark.parametrize("rows", [100, 1000, 10_000])
def test_the_error_by_chance_is_the_mean_error_of_what_is_right(rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    stated = torch.rand(rows, generator=generator, dtype=torch.float64)
    errors = [
        expected_calibration_error(stated, torch.bernoulli(stated, generator=generator))
        for _ in range(400)
    ]
    by_chance = calibration_error_by_chance(stated)
    assert by_chance == pytest.approx(sum(errors) / len(errors), rel=0.04)
    assert calibration_error_by_chance(torch.tensor([0.0, 1.0])) == 0


@given(st.integers(0, 60), st.integers(2, 7))
def test_folds_are_a_partition(rows: int, count: int) -> None:
    parts = list(folds(rows, count))
    assert torch.cat([part for _, part in parts]).sort().values.tolist() == list(range(rows))
    for rest, part in parts:
        assert sorted(rest.tolist() + part.tolist()) == list(range(rows))
