import math
from statistics import fmean
from typing import Literal

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import Regression, task_from_spec


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


LOSSES: list[tuple[Literal["squared", "absolute", "huber"], list[float]]] = [
    ("squared", [0.25, 9.0]),
    ("absolute", [0.5, 3.0]),
    ("huber", [0.25, 2 * 3.0 * 1.5 - 1.5**2]),  # the line that touches the square at 1.5
]


@pytest.mark.parametrize(("loss", "expected"), LOSSES)
def test_every_loss_by_hand(
    loss: Literal["squared", "absolute", "huber"], expected: list[float]
) -> None:
    task = Regression(low=0, high=20, center=4.0, scale=2.0, loss=loss, huber_delta=1.5)
    found = task.row_loss(torch.tensor([[0.5], [-2.0]]), torch.tensor([4.0, 6.0]))
    assert found.tolist() == pytest.approx(expected)


def test_a_bounded_output_stays_in_the_range_by_hand() -> None:
    task = Regression(low=1, high=5, center=2.0, scale=0.5, bounded=True)
    z = torch.tensor([[-1e3], [0.0], [1.0], [1e3]], dtype=torch.float64)
    # through the center with the slope of the scale: 1/4 of the range is logit(1/4)
    at_one = 1 + 4 / (1 + math.exp(math.log(3) - 0.5 / (4 * 0.25 * 0.75)))
    assert task.predict(z).tolist() == pytest.approx([1.0, 2.0, at_one, 5.0])
    slope = (task.predict(z[1:2] + 1e-6) - 2.0) / 1e-6
    assert float(slope) == pytest.approx(0.5, rel=1e-4)
    loss = task.row_loss(z, torch.tensor([3.0] * 4, dtype=torch.float64))
    errors = [(score - 3.0) / 0.5 for score in (1.0, 2.0, at_one, 5.0)]
    assert loss.tolist() == pytest.approx([error**2 for error in errors])
    assert not task.same_outputs(Regression(low=1, high=5))


def test_a_bounded_output_learns_from_targets_at_the_end_of_the_range() -> None:
    task = Regression(low=0, high=1, bounded=True).fit([1.0, 1.0])
    output = torch.zeros(1, 1, requires_grad=True)
    task.row_loss(output, torch.tensor([1.0])).sum().backward()
    assert output.grad is not None
    assert float(output.grad) < 0


def test_several_scores_of_a_sentence_have_their_mean_and_are_read_back() -> None:
    task = Regression(low=-4, high=4)
    assert task.merge([0.1, 0.2, 0.6]) == fmean([0.1, 0.2, 0.6])
    assert task.encode(task.describe(-0.1)) == -0.1


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


def test_the_interval_is_equally_wide_everywhere_but_at_the_ends_of_the_range() -> None:
    task = Regression(low=-4, high=4, radius=1.5)
    interval = task.interval(torch.tensor([0.0, 3.0, -4.0]))
    assert interval is not None
    assert interval.tolist() == [[-1.5, 1.5], [1.5, 4.0], [-4.0, -2.5]]
    assert task.decode(torch.tensor(3.0)) == {"score": 3.0, "interval": [1.5, 4.0]}
    assert Regression(low=-4, high=4).decode(torch.tensor(3.0)) == {"score": 3.0}


def test_wrong_declarations_are_refused() -> None:
    for low, high in ((1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(ConfigError, match="low"):
            Regression(low=low, high=high)
    with pytest.raises(ConfigError, match="scale"):
        Regression(low=0, high=1, scale=0.0)
    with pytest.raises(ConfigError, match="huber_delta"):
        Regression(huber_delta=0.0)
    with pytest.raises(ConfigError, match=r"loss.*'cubic'"):
        task_from_spec({"kind": "regression", "loss": "cubic"})
