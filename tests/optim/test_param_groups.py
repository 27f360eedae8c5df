"""Laws 1, 2, 3 and 5: groups partition, rates have a closed form, decay touches what it should."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from lit_mtl.errors import ConfigError
from lit_mtl.optim.loss_balancing import UncertaintyWeights
from lit_mtl.optim.param_groups import LOSS_WEIGHTS, Place, Rates, build_param_groups, group_rows

LAYERS = 3


class Toy(nn.Module):
    """Embeddings, three layers with norms of equal value, a projection and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(5, 4)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(LAYERS)
        )
        self.projection = nn.Linear(4, 3)
        self.heads = nn.Linear(3, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embeddings(ids)
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        output: torch.Tensor = self.heads(self.projection(x))
        return output

    def places(self) -> dict[str, Place]:
        places = {}
        for name, _ in self.named_parameters(remove_duplicate=False):
            part, *rest = name.split(".")
            if part == "layers":
                places[name] = Place(f"layer_{rest[0]}", LAYERS - int(rest[0]))
            else:
                places[name] = Place(part, LAYERS + 1 if part == "embeddings" else 0)
        return places


def toy() -> Toy:
    torch.manual_seed(0)
    return Toy()


RATES = Rates(
    lr=0.01,
    layer_decay=0.5,
    projection_lr_multiplier=3.0,
    head_lr_multiplier=7.0,
    weight_decay=0.1,
)


def test_groups_partition_the_parameters_by_identity() -> None:
    model = toy()
    groups = build_param_groups(model, places=model.places(), rates=RATES)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in model.parameters()}
    named = dict(model.named_parameters())
    for group in groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            assert named[name] is parameter


def test_frozen_parameters_are_in_the_groups_too() -> None:
    model = toy().requires_grad_(False)
    groups = build_param_groups(model, places=model.places(), rates=RATES)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert sum(row[2] for row in group_rows(groups)) == total
    assert sum(row[3] for row in group_rows(groups)) == 0


def test_learning_rates_have_a_closed_form() -> None:
    model = toy()
    groups = build_param_groups(model, places=model.places(), rates=RATES)
    found = {(group["name"], group["depth"]): group["lr"] for group in groups}
    expected = {("heads", 0): 0.07, ("projection", 0): 0.03, ("embeddings", 4): 0.01 * 0.5**4}
    expected |= {(f"layer_{layer}", 3 - layer): 0.01 * 0.5 ** (3 - layer) for layer in range(3)}
    for (part, depth), rate in expected.items():
        kinds = ("decay",) if part == "embeddings" else ("decay", "no_decay")
        for kind in kinds:
            assert found.pop((f"{part}/{kind}", depth)) == pytest.approx(rate)
    assert not found


def test_only_matrices_are_decayed() -> None:
    model = toy()
    for group in build_param_groups(model, places=model.places(), rates=RATES):
        matrices = {parameter.ndim > 1 for parameter in group["params"]}
        assert matrices == {group["weight_decay"] > 0}
        assert group["weight_decay"] in (0.0, 0.1)


def test_a_tied_parameter_counts_once_at_the_lowest_depth() -> None:
    model = toy()
    model.heads = nn.Linear(4, 5)
    model.heads.weight = model.embeddings.weight
    groups = build_param_groups(model, places=model.places(), rates=RATES)
    holders = [
        group["name"]
        for group in groups
        for parameter in group["params"]
        if parameter is model.embeddings.weight
    ]
    assert holders == ["embeddings/decay"]


def test_a_parameter_without_a_place_is_refused_by_name() -> None:
    model = toy()
    places = model.places()
    del places["projection.bias"]
    with pytest.raises(ConfigError, match=r"projection\.bias"):
        build_param_groups(model, places=places, rates=RATES)


def test_the_order_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "from tests.optim.test_param_groups import *\n"
        "m = toy(); g = build_param_groups(m, places=m.places(), rates=RATES)\n"
        "print([(x['name'], x['param_names']) for x in g])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_decay_one_trains_bit_for_bit_like_ungrouped_adamw() -> None:
    grouped, plain = toy(), toy()
    rates = Rates(lr=0.01, layer_decay=1.0, weight_decay=0.0)
    optimizers = (
        AdamW(build_param_groups(grouped, places=grouped.places(), rates=rates)),
        AdamW(plain.parameters(), lr=0.01, weight_decay=0.0),
    )
    for step in range(5):
        ids = torch.tensor([step % 5, 1, 2])
        for model, optimizer in zip((grouped, plain), optimizers, strict=True):
            optimizer.zero_grad()
            model(ids).square().sum().backward()
            optimizer.step()
    for one, other in zip(grouped.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_step_with_zero_gradients_moves_exactly_the_decayed_tensors() -> None:
    model = toy()
    optimizer = AdamW(build_param_groups(model, places=model.places(), rates=RATES))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {
        name for name, parameter in model.named_parameters() if not parameter.equal(before[name])
    }
    assert moved == {name for name, parameter in model.named_parameters() if parameter.ndim > 1}


def test_every_parameter_moves_equal_valued_norms_included() -> None:
    model = toy()
    optimizer = AdamW(build_param_groups(model, places=model.places(), rates=RATES))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model(torch.arange(5)).square().sum().backward()
    optimizer.step()
    still = [name for name, parameter in model.named_parameters() if parameter.equal(before[name])]
    assert still == []


def test_learned_loss_weights_have_a_rate_of_their_own_and_no_decay() -> None:
    for rates in (RATES, Rates(lr=1e-6, weight_decay=0.5)):
        balance = UncertaintyWeights(["score", "sentiment"])
        places = {"log_variances": Place(LOSS_WEIGHTS, -1)}
        rows = group_rows(build_param_groups(balance, places=places, rates=rates))
        assert rows == [("loss_weights/no_decay", -1, 2, 2, 1e-2, 0.0)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0.0),
        ("layer_decay", 0.0),
        ("layer_decay", 1.1),
        ("head_lr_multiplier", -1.0),
        ("projection_lr_multiplier", 0.0),
        ("weight_decay", -0.1),
    ],
)
def test_wrong_rates_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"`{name}`"):
        Rates(**{"lr": 1e-3, name: value})
