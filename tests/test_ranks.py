import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from lit_mtl.ranks import average_ranks, spearman


@given(values=st.lists(st.integers(-3, 3) | st.floats(-2, 2), min_size=1, max_size=40))
def test_ranks_are_those_of_scipy(values: list[float]) -> None:
    found = average_ranks(torch.tensor(values, dtype=torch.float64))
    assert found.tolist() == rankdata(np.array(values, dtype=np.float64)).tolist()


@pytest.mark.parametrize("rows", [3, 50, 200_000])
def test_the_correlation_is_that_of_scipy_however_many_values_are_equal(rows: int) -> None:
    """Of 200,000 stars most are 5: sums of their ranks are beyond 32 bits."""
    random = np.random.default_rng(rows)
    stars = np.minimum(5, random.integers(1, 12, rows))
    stars[0] = 1
    guess = stars + random.normal(size=rows)
    found = spearman(torch.tensor(guess), torch.tensor(stars))
    assert found == pytest.approx(spearmanr(guess, stars).statistic, abs=1e-12)


def test_what_does_not_vary_has_no_correlation() -> None:
    assert np.isnan(spearman(torch.ones(3), torch.arange(3.0)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_has_no_correlation(bad: float) -> None:
    values = torch.arange(4.0)
    assert np.isnan(spearman(values, torch.tensor([0.0, 1.0, bad, 3.0])))
    assert np.isnan(spearman(torch.full((4,), bad), values))
