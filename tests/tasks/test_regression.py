import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import Regression


def test_metrics_agree_with_scipy_and_scikit_learn() -> None:
    random = torch.Generator().manual_seed(0)
    task = Regression(low=-4, high=4, center=0.5, scale=1.5)
    output = torch.randn(500, 1, generator=random)
    target = (output[:, 0] + torch.randn(500, generator=random)).round(decimals=1).clamp(-4, 4)
    score = task.predict(output)
    expected = {
        "pearson": pearsonr(score, target).statistic,
        "spearman": spearmanr(score, target).statistic,
        "mae": mean_absolute_error(target, score),
        "rmse": root_mean_squared_error(target, score),
    }
    assert task.metrics(output, target) == pytest.approx(expected, abs=1e-6)


def test_pearson_is_exact_far_from_zero() -> None:
    random = np.random.default_rng(0)
    target = 1000 + random.normal(size=100)
    output = torch.tensor(target + random.normal(size=100), dtype=torch.float32)
    task = Regression(low=0, high=2000, center=0.0, scale=1.0)
    expected = pearsonr(output.double(), torch.tensor(target).float().double()).statistic
    found = task.metrics(output[:, None], torch.tensor(target, dtype=torch.float32))["pearson"]
    assert found == pytest.approx(expected, abs=1e-6)


def test_metrics_are_none_where_the_rows_do_not_define_them() -> None:
    task = Regression(low=-1, high=1)
    nothing = task.metrics(torch.zeros(0, 1), torch.zeros(0))
    assert nothing == {"pearson": None, "spearman": None, "mae": None, "rmse": None}
    constant = task.metrics(torch.zeros(3, 1), torch.tensor([0.0, 0.5, 1.0]))
    assert (constant["pearson"], constant["spearman"]) == (None, None)
    assert constant["mae"] == pytest.approx(0.5)


def test_row_loss_is_squared_error_in_units_of_the_scale() -> None:
    task = Regression(low=0, high=10, center=4.0, scale=2.0)
    loss = task.row_loss(torch.tensor([[0.0], [1.0]]), torch.tensor([8.0, 6.0]))
    assert loss.tolist() == [4.0, 0.0]


def test_fitting_makes_the_loss_of_the_mean_one_whatever_the_unit() -> None:
    for unit in (1.0, 100.0):
        targets = [unit * value for value in (1.0, 2.0, 3.0, 6.0)]
        task = Regression(low=0, high=1000).fit(targets)
        loss = task.row_loss(torch.zeros(4, 1), torch.tensor(targets)).mean()
        assert float(loss) == pytest.approx(1.0)
        assert task.predict(torch.zeros(1, 1)).item() == pytest.approx(3.0 * unit)


def test_declared_unit_and_constant_targets_are_respected() -> None:
    task = Regression(low=0, high=9, center=1.0, scale=7.0).fit([3.0, 5.0])
    assert (task.center, task.scale) == (1.0, 7.0)
    constant = Regression(low=0, high=9).fit([3.0, 3.0])
    assert (constant.center, constant.scale) == (3.0, 1.0)


def test_predictions_stay_in_the_declared_range() -> None:
    task = Regression(low=-1, high=1, center=0.0, scale=1.0)
    assert task.predict(torch.tensor([[-9.0], [0.5], [9.0]])).tolist() == [-1.0, 0.5, 1.0]
    assert task.decode(torch.tensor(0.5)) == {"score": 0.5}


@pytest.mark.parametrize("text", ["1", "-0.5", "+.5", "2.", "1e0", "-4", "4"])
def test_numbers_are_read(text: str) -> None:
    assert Regression(low=-4, high=4).encode(text) == float(text)


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "1e999", "1_0", "٣", "0x1", "1,5", "4.01", "one", "1 2"]
)
def test_what_is_no_number_in_the_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        Regression(low=-4, high=4).encode(text)


def test_a_decimal_comma_gets_a_hint() -> None:
    with pytest.raises(ValueError, match="point"):
        Regression(low=-4, high=4).encode("1,5")


def test_wrong_declarations_are_refused() -> None:
    for low, high in ((1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(ConfigError, match="low"):
            Regression(low=low, high=high)
    with pytest.raises(ConfigError, match="scale"):
        Regression(low=0, high=1, scale=0.0)
