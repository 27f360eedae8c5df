from pathlib import Path

import pytest
import torch
from torch.nn import functional

from lit_mtl.artifact import bundle, load, packed_linears
from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.artifact.packed_linears import PackedLinears


@pytest.fixture
def packings(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The weights that are packed, in turn."""
    assert packed_linears._works()  # its own trial is none of them
    seen: list[torch.Tensor] = []
    original = packed_linears._pack

    def pack(weight: torch.Tensor, rows: int) -> torch.Tensor:
        seen.append(weight)
        return original(weight, rows)

    monkeypatch.setattr(packed_linears, "_pack", pack)
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 7), (2, 3, 7)])
@torch.inference_mode()
def test_a_packed_layer_computes_the_same_and_packs_once(
    shape: tuple[int, ...], bias: bool, packings: list[torch.Tensor]
) -> None:
    layer = torch.nn.Linear(7, 4, bias=bias)
    mode = PackedLinears(rows=3)
    for seed in range(2):
        rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
        expected = layer(rows)
        with mode:
            found = layer(rows)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert len(packings) == 1
    assert packings[0] is layer.weight


@torch.inference_mode()
def test_layers_are_not_mistaken_for_each_other(packings: list[torch.Tensor]) -> None:
    """Each has weights of its own, also where a dead one's address is given away again."""
    rows = torch.ones(2, 3)
    with PackedLinears(rows=2):
        for value in range(20):
            found = functional.linear(rows, torch.full((4, 3), float(value)), None)
            assert found.unique().tolist() == [3.0 * value]
    assert len(packings) == 20


@torch.inference_mode()
def test_other_types_and_calls_are_left_alone(packings: list[torch.Tensor]) -> None:
    rows, weight = torch.eye(3), torch.arange(6.0).view(2, 3)
    with PackedLinears(rows=3):
        for kind in (torch.float64, torch.bfloat16):
            assert functional.linear(rows.to(kind), weight.to(kind), None).dtype == kind
        assert torch.equal(functional.linear(rows, weight), weight.T)
        assert torch.equal(functional.relu(-rows), torch.zeros(3, 3))
    assert not packings


def run(model: TrainedModel, sentences: int) -> torch.Tensor:
    texts = [f"{'so ' * (number % 17)}good {number}" for number in range(sentences)]
    return model.embed(texts, batch_tokens=200)


def test_many_sentences_are_run_by_packed_layers_and_few_are_not(
    exported: Path, packings: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(exported)
    monkeypatch.setattr(bundle, "_WORTH_PACKING", 500)
    monkeypatch.setattr(bundle, "_WINDOW", 64)
    few = run(model, 10)
    assert not packings
    many = run(model, 200)
    layers = [part for part in model.network.modules() if isinstance(part, torch.nn.Linear)]
    assert {id(weight) for weight in packings} == {id(layer.weight) for layer in layers}
    assert len(packings) == len(layers)
    torch.testing.assert_close(many[:10], few, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    plain = run(model, 200)
    assert len(packings) == len(layers)
    torch.testing.assert_close(many, plain, atol=1e-5, rtol=1e-5)


def test_weights_that_changed_between_two_calls_count(exported: Path) -> None:
    model = load(exported)
    before = run(model, 400)
    with torch.no_grad():
        model.network.encoder.projection.weight.mul_(2.0)
        model.network.encoder.projection.bias.mul_(2.0)
    torch.testing.assert_close(run(model, 400), 2 * before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_without_the_operators_layers_run_as_ever(
    error: type[Exception], exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(load(exported), 400)

    def missing(weight: torch.Tensor, rows: int) -> torch.Tensor:
        raise error("no such operator")

    packed_linears._works.cache_clear()
    monkeypatch.setattr(packed_linears, "_pack", missing)
    torch.testing.assert_close(run(load(exported), 400), expected, atol=1e-5, rtol=1e-5)
    packed_linears._works.cache_clear()
