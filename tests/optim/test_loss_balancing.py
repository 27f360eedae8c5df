import math

import pytest
import torch
from torch.optim import AdamW

from lit_mtl.errors import ConfigError
from lit_mtl.optim.loss_balancing import (
    UncertaintyWeights,
    check_balancing,
    labelled_mean,
    weighted_sum,
)


def test_labelled_mean_is_the_mean_when_the_count_is_that_of_the_rows() -> None:
    losses = torch.tensor([1.0, 2.0, 6.0])
    assert labelled_mean(losses, count=torch.tensor(3.0)) == 3.0


def test_devices_with_unequal_rows_average_to_the_mean_over_all_rows() -> None:
    parts = [torch.tensor([1.0, 2.0, 6.0]), torch.tensor([4.0]), torch.tensor([])]
    count = torch.tensor(4 / 3)
    average = sum(labelled_mean(part, count=count) for part in parts) / 3
    assert torch.isclose(torch.as_tensor(average), torch.cat(parts).mean())


def test_no_labelled_row_gives_zero_loss_and_a_zero_gradient() -> None:
    weight = torch.ones(2, requires_grad=True)
    loss = labelled_mean((weight * 1.0)[:0], count=torch.tensor(0.0))
    loss.backward()
    assert loss == 0.0
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.0, 0.0]


def test_weighted_sum_by_hand_and_weight_zero_removes_the_gradient() -> None:
    losses = {
        name: torch.tensor(value, requires_grad=True) for name, value in (("a", 2.0), ("b", 5.0))
    }
    total = weighted_sum(losses, weights={"a": 0.5, "b": 0.0})
    total.backward()
    assert total == 1.0
    assert losses["a"].grad == 0.5
    assert losses["b"].grad == 0.0


def constants(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


SOME = constants(a=3.0, b=1.0, c=1.0)
STATIC = {"a": 0.5, "b": 2.0, "c": 1.0}


def learn(
    balance: UncertaintyWeights, losses: dict[str, torch.Tensor], steps: int, lr: float = 0.02
) -> dict[str, float]:
    """The learned factors after some steps on losses that do not change."""
    optimizer = AdamW(balance.parameters(), lr=lr, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        balance(losses, weights=STATIC, counts=SOME).backward()
        optimizer.step()
    return {name: factor.item() for name, factor in balance.factors().items()}


def test_constant_losses_lead_to_the_weights_of_the_closed_form() -> None:
    losses = constants(a=0.05, b=1.0, c=7.0)
    found = learn(UncertaintyWeights(losses), losses, steps=800)
    expected = {
        name: 4 / (loss + math.sqrt(loss**2 + 8 * loss))
        for name, loss in ((name, float(value)) for name, value in losses.items())
    }
    assert expected["b"] == 1.0
    assert found == pytest.approx(expected, rel=1e-3)


def test_the_gradients_are_those_of_the_formula() -> None:
    balance = UncertaintyWeights(STATIC).double()
    start = {"a": -1.0, "b": 0.3, "c": 2.0}
    balance.restore({name: torch.tensor(value) for name, value in start.items()})
    losses = {
        name: torch.tensor(value, dtype=torch.double, requires_grad=True)
        for name, value in (("a", 0.2), ("b", 4.0), ("c", 1.5))
    }
    total = balance(losses, weights=STATIC, counts=SOME)
    total.backward()
    by_hand = 0.0
    gradient = balance.log_variances.grad
    assert gradient is not None
    for place, (name, weight) in enumerate(STATIC.items()):
        s, loss = balance.log_variances[place].item(), losses[name]
        by_hand += weight * (math.exp(-s) * loss.item() + 2 * math.log1p(math.exp(s)))
        slope = weight * (2 / (1 + math.exp(-s)) - math.exp(-s) * loss.item())
        assert float(gradient[place]) == pytest.approx(slope, rel=1e-12)
        assert loss.grad is not None
        assert float(loss.grad) == pytest.approx(weight * math.exp(-s), rel=1e-12)
    assert total.item() == pytest.approx(by_hand, rel=1e-12)


def test_it_begins_with_the_gradients_of_the_static_weights_to_the_bit() -> None:
    gradients = []
    for balance in (None, UncertaintyWeights(STATIC)):
        losses = {name: value.clone().requires_grad_() for name, value in SOME.items()}
        if balance is None:
            weighted_sum(losses, weights=STATIC).backward()
        else:
            balance(losses, weights=STATIC, counts=SOME).backward()
        gradients.append({name: loss.grad for name, loss in losses.items()})
    assert gradients[0] == gradients[1]


def test_no_labelled_rows_and_a_weight_of_zero_teach_a_task_nothing() -> None:
    balance = UncertaintyWeights(STATIC)
    counts = {**SOME, "a": torch.tensor(0.0)}
    losses = constants(a=0.0, b=5.0, c=5.0)
    total = balance(losses, weights={**STATIC, "b": 0.0}, counts=counts)
    total.backward()
    gradient = balance.log_variances.grad
    assert gradient is not None
    assert gradient[:2].tolist() == [0.0, 0.0]
    assert gradient[2] != 0
    assert total.item() == pytest.approx(5 + 2 * math.log(2))


def test_devices_with_unequal_rows_average_to_the_gradient_of_one() -> None:
    """One device has no row of the task; the count that both are given says that there are some."""
    rows = torch.tensor([1.0, 2.0, 6.0])
    gradients = []
    for parts in ([rows, rows[:0]], [rows[:1], rows[1:]], [rows]):
        balance = UncertaintyWeights(["a"])
        count = torch.tensor(3 / len(parts))
        for part in parts:
            loss = {"a": labelled_mean(part, count=count)}
            (balance(loss, weights={"a": 1.0}, counts={"a": count}) / len(parts)).backward()
        assert balance.log_variances.grad is not None
        gradients.append(float(balance.log_variances.grad))
    assert gradients == pytest.approx([gradients[-1]] * 3)


def test_a_weight_has_a_bound_and_comes_back_from_it() -> None:
    balance = UncertaintyWeights(STATIC)
    found = learn(balance, constants(a=0.0, b=1e-9, c=1e9), steps=100, lr=0.5)
    bound = math.exp(4)
    assert found == pytest.approx({"a": bound, "b": bound, "c": 1 / bound}, rel=0.7)
    found = learn(balance, constants(a=1.0, b=1.0, c=1.0), steps=2000)
    assert found == pytest.approx({"a": 1.0, "b": 1.0, "c": 1.0}, rel=1e-3)


def test_a_task_that_is_not_weighed_keeps_its_weight() -> None:
    losses = {name: value.clone().requires_grad_() for name, value in SOME.items()}
    balance = UncertaintyWeights(["b", "c"])
    balance.restore({"b": torch.tensor(1.0), "c": torch.tensor(1.0)})
    balance(losses, weights=STATIC, counts=SOME).backward()
    assert losses["a"].grad == STATIC["a"]
    assert losses["c"].grad != STATIC["c"]


def test_they_are_kept_by_name_and_are_no_weights_of_the_model() -> None:
    one, other = UncertaintyWeights(["b", "a"]), UncertaintyWeights(["a", "b"])
    one.restore({"a": torch.tensor(0.25), "b": torch.tensor(-1.0)})
    kept = one.variances()
    assert kept == {"a": torch.tensor(0.25), "b": torch.tensor(-1.0)}
    learn(one, {"a": torch.tensor(2.0), "b": torch.tensor(2.0)}, steps=1)
    assert kept["a"] == 0.25, "what is kept does not move on"
    other.restore(kept)
    assert other.variances() == kept
    assert one.names == other.names, "an optimizer keeps its moments by position"
    assert one.state_dict() == {}
    other.load_state_dict({}, strict=True)


def test_another_way_to_weigh_is_refused_with_those_that_there_are() -> None:
    assert check_balancing("static") == "static"
    with pytest.raises(
        ConfigError, match="to be static or uncertainty or upgrad, but got 'gradnorm'"
    ):
        check_balancing("gradnorm")
