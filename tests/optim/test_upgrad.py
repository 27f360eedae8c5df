import sys
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from lit_mtl.errors import ConfigError
from lit_mtl.optim.loss_balancing import weighted_sum
from lit_mtl.optim.upgrad import UPGrad

WEIGHTS = {"a": 1.0, "b": 0.5, "c": 2.0}


class Shared(nn.Module):
    """A shared layer over fixed inputs, and a linear head a task."""

    def __init__(self, *, rows: int = 6, dim: int = 5) -> None:
        super().__init__()
        self.inputs = torch.randn(rows, 4, dtype=torch.double)
        self.layer = nn.Linear(4, dim, dtype=torch.double)
        self.heads = {name: nn.Linear(dim, 1, dtype=torch.double) for name in "abc"}
        self.all_heads = nn.ModuleList(self.heads.values())
        self.targets = {name: 5 * torch.randn(rows, dtype=torch.double) for name in "abc"}

    def losses(self, rows: slice = slice(None)) -> tuple[Tensor, dict[str, Tensor]]:
        embedding = torch.tanh(self.layer(self.inputs[rows]))
        outputs = {name: head(embedding)[:, 0] for name, head in self.heads.items()}
        return embedding, {
            name: (output - self.targets[name][rows]).square().mean()
            for name, output in outputs.items()
        }

    def task_gradients(self) -> Tensor:
        """Of each task by the shared layer, (N, P)."""
        _, losses = self.losses()
        parameters = list(self.layer.parameters())
        found = [
            torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses.values()
        ]
        return torch.stack([torch.cat([part.flatten() for part in parts]) for parts in found])

    def gradient(self) -> Tensor:
        return torch.cat(
            [each.grad.flatten() for each in self.layer.parameters() if each.grad is not None]
        )


def step(
    model: Shared, weights: dict[str, float] = WEIGHTS, shared: Sequence[nn.Parameter] | None = None
) -> dict[str, float]:
    """Leave the gradients of one step; the factors in what is shared."""
    model.zero_grad()
    embedding, losses = model.losses()
    shared = list(model.layer.parameters()) if shared is None else shared
    term, factors = UPGrad()(
        losses, weights=weights, embedding=embedding, shared=shared, mean=lambda value: value
    )
    assert term == 0
    (weighted_sum(losses, weights=weights) + term).backward()
    return {name: float(factor) for name, factor in factors.items()}


def step_of_scaled(scale: float) -> tuple[Tensor, Mapping[str, Tensor | float]]:
    """Of tasks in conflict, all of whose losses are so many times as large: what is added, and the factors."""
    model = in_conflict()
    embedding, losses = model.losses()
    return UPGrad()(
        {name: loss * scale for name, loss in losses.items()},
        weights=WEIGHTS,
        embedding=embedding,
        shared=list(model.layer.parameters()),
        mean=lambda value: value,
    )


def in_conflict() -> Shared:
    """Two tasks that want opposite things of the same rows, and a third."""
    torch.manual_seed(3)
    model = Shared()
    with torch.no_grad():
        model.heads["b"].weight.copy_(model.heads["a"].weight)
        model.targets["b"] = -model.targets["a"] + 0.5 * torch.randn(6, dtype=torch.double)
    return model


def test_the_shared_step_harms_no_task_where_the_plain_sum_does() -> None:
    model = in_conflict()
    gradients = model.task_gradients()
    static = torch.tensor(list(WEIGHTS.values()), dtype=torch.double)
    size = gradients.square().sum()
    assert (gradients @ (static @ gradients)).min() / size < -0.01, "the plain sum harms one"
    factors = step(model)
    assert (gradients @ model.gradient()).min() / size > -1e-3
    expected = torch.tensor(list(factors.values()), dtype=torch.double) @ gradients
    torch.testing.assert_close(model.gradient(), expected, atol=1e-6, rtol=1e-5)
    assert all(factors[name] >= WEIGHTS[name] - 1e-9 for name in WEIGHTS)


def test_two_tasks_are_projected_as_by_hand() -> None:
    model = in_conflict()
    weights = {"a": 1.0, "b": 0.5, "c": 0.0}
    one, other, _ = model.task_gradients()
    assert one @ other < 0
    own = one - (one @ other) / (other @ other) * other
    others = other - (one @ other) / (one @ one) * one
    factors = step(model, weights)
    # TorchJD adds 1e-4 of the gradients' size to the inner products, so that they can be inverted
    torch.testing.assert_close(model.gradient(), own + 0.5 * others, atol=1e-2, rtol=1e-2)
    assert factors["c"] == 0


def test_without_conflict_it_is_the_weighted_sum() -> None:
    torch.manual_seed(0)
    model = Shared()
    with torch.no_grad():
        for name in "bc":
            model.heads[name].load_state_dict(model.heads["a"].state_dict())
            model.targets[name] = model.targets["a"].clone()
    gradients = model.task_gradients()
    assert (gradients @ gradients.T).min() > 0
    assert step(model) == pytest.approx(WEIGHTS, rel=1e-9)
    expected = torch.tensor(list(WEIGHTS.values()), dtype=torch.double) @ gradients
    torch.testing.assert_close(model.gradient(), expected)


def test_heads_learn_as_without_it() -> None:
    model = in_conflict()
    step(model)
    found = {name: head.weight.grad.clone() for name, head in model.heads.items()}  # type: ignore[union-attr]
    model.zero_grad()
    _, losses = model.losses()
    weighted_sum(losses, weights=WEIGHTS).backward()
    for name, head in model.heads.items():
        assert torch.equal(found[name], head.weight.grad)  # type: ignore[arg-type]


def test_nothing_shared_and_one_task_alone_change_nothing() -> None:
    model = in_conflict()
    assert step(model, shared=[]) == WEIGHTS
    alone = {"a": 1.0, "b": 0.0, "c": 0.0}
    assert step(model, alone) == alone


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_size_of_all_gradients_does_not_matter(scale: float) -> None:
    expected = step(in_conflict())
    _, factors = step_of_scaled(scale)
    assert {name: float(factor) for name, factor in factors.items()} == pytest.approx(
        expected, rel=1e-3
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_gradients_that_say_nothing_leave_the_static_weights(bad: float) -> None:
    """A run that diverges is stopped by the guard, which names the parameters."""
    term, factors = step_of_scaled(bad)
    assert factors == WEIGHTS
    assert term == 0


def test_devices_with_different_rows_take_the_step_of_one() -> None:
    """What `mean` gives is that of all devices; each adds its own share."""
    model = in_conflict()
    step(model)
    expected = model.gradient()
    halves = [slice(0, 3), slice(3, 6)]
    kept: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(value)
        return value

    def run(rows: slice, mean: Tensor | None) -> Tensor:
        model.zero_grad()
        embedding, losses = model.losses(rows)
        term, _ = UPGrad()(
            losses,
            weights=WEIGHTS,
            embedding=embedding,
            shared=list(model.layer.parameters()),
            mean=keep if mean is None else lambda _: mean,
        )
        (weighted_sum(losses, weights=WEIGHTS) + term).backward()
        return model.gradient()

    for rows in halves:
        run(rows, None)
    average = torch.stack(kept).mean(dim=0)
    found = torch.stack([run(rows, average) for rows in halves]).mean(dim=0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_without_torchjd_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(
        ConfigError, match=r"upgrad` needs TorchJD: pip install 'lit_mtl\[torchjd\]'"
    ):
        UPGrad()


@pytest.mark.parametrize("small", [0.1, 0.02, 1e-3, 1e-6])
def test_a_task_with_small_gradients_is_not_harmed(small: float) -> None:
    gradients = torch.tensor([[1.0, 0.0], [-0.5 * small, small]], dtype=torch.double)
    shared = nn.Parameter(torch.zeros(2, dtype=torch.double))
    embedding = shared * torch.ones(1, 2, dtype=torch.double)
    losses = {name: (embedding @ row).sum() for name, row in zip("ab", gradients, strict=True)}
    _, factors = UPGrad()(
        losses,
        weights={"a": 1.0, "b": 1.0},
        embedding=embedding,
        shared=[shared],
        mean=lambda value: value.double(),
    )
    step = torch.tensor([float(factors[name]) for name in "ab"], dtype=torch.double) @ gradients
    cosines = gradients @ step / gradients.norm(dim=1) / step.norm()
    assert cosines.min() > -1e-3
