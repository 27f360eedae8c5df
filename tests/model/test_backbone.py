"""What is known of each family's layers, checked on a tiny model of it."""

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import AutoConfig

from lit_mtl.errors import ConfigError
from lit_mtl.model.backbone import LAYOUTS, Backbone
from lit_mtl.optim.param_groups import Place
from tests.model.families import FAMILIES, LAYERS, family_config


def tiny(family: str) -> Backbone:
    torch.manual_seed(0)
    return Backbone(family_config(family))


def test_every_family_is_tested() -> None:
    assert set(FAMILIES) == set(LAYOUTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_has_a_place_and_every_depth_is_there(family: str) -> None:
    backbone = tiny(family)
    places = {backbone.place(name) for name, _ in backbone.transformer.named_parameters()}
    expected = {Place("embeddings", LAYERS + 1)}
    expected |= {Place(f"layer_{layer}", LAYERS - layer) for layer in range(LAYERS)}
    assert places == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_parameter_acts_at_its_depth_and_not_below(family: str) -> None:
    """The output of the lowest layers does not change with a parameter that stands higher."""
    backbone = tiny(family).eval()
    ids = torch.arange(5, 15).unsqueeze(0)
    arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def states() -> list[torch.Tensor]:
        with torch.no_grad():
            return list(backbone.transformer(**arguments, output_hidden_states=True).hidden_states)

    before = states()
    for name, parameter in backbone.transformer.named_parameters():
        saved = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter))
        changed = [not torch.equal(a, b) for a, b in zip(before, states(), strict=True)]
        with torch.no_grad():
            parameter.copy_(saved)
        first = changed.index(True) if any(changed) else len(changed)
        # hidden_states[0] is the embeddings' output, [k] that of layer k - 1
        assert first >= LAYERS + 1 - backbone.place(name).depth, name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_gets_a_gradient(family: str) -> None:
    backbone = tiny(family)
    ids = torch.arange(5, 45).view(2, 20)
    weight = torch.randn(2, 20, 16)
    (backbone(ids, torch.ones_like(ids)) * weight).sum().backward()
    without = [n for n, p in backbone.transformer.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize("family", FAMILIES)
def test_side_and_amount_of_padding_do_not_matter(family: str) -> None:
    backbone = tiny(family).eval()
    ids = torch.randint(5, 50, (1, 9), generator=torch.Generator().manual_seed(1))
    pad = torch.full((1, 4), int(family_config(family).pad_token_id))
    real, none = torch.ones_like(ids), torch.zeros_like(pad)
    with torch.no_grad():
        alone = backbone(ids, real)
        right = backbone(torch.cat([ids, pad], 1), torch.cat([real, none], 1))[:, :9]
        left = backbone(torch.cat([pad, ids], 1), torch.cat([none, real], 1))[:, 4:]
        other = backbone(ids.roll(1, 1), real)
    torch.testing.assert_close(right, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(left, alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(other, alone, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_those_of_transformers_itself(family: str) -> None:
    backbone = tiny(family).eval()
    ids = torch.randint(5, 50, (2, 12), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        expected = backbone.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(backbone(ids, mask), expected)


BOUNDARIES = range(1, LAYERS)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", BOUNDARIES)
def test_a_prefix_and_what_stands_above_it_make_the_whole(family: str, layers: int) -> None:
    """Also where what stands at the padding is not kept; and each runs no layer of the other."""
    backbone = tiny(family).double().eval()
    ids = torch.randint(5, 50, (3, 12), generator=torch.Generator().manual_seed(3))
    mask = (torch.arange(12) < torch.tensor([12, 7, 3])[:, None]).to(torch.int64)
    ran: list[int] = []
    for number, layer in enumerate(backbone._layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    expected = backbone(ids, mask)[mask.bool()]
    expected.square().sum().backward()
    above = {n for n, p in backbone.named_parameters() if _place(backbone, n) <= LAYERS - layers}
    gradients = {n: p.grad for n, p in backbone.named_parameters() if n in above}
    backbone.zero_grad()
    ran.clear()
    with torch.no_grad():
        states = backbone.prefix(ids, mask, layers=layers)
    assert ran == list(range(layers))
    states = states * mask.unsqueeze(-1)
    found = backbone.from_prefix(states, mask, layers=layers)[mask.bool()]
    assert ran == list(range(LAYERS))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    found.square().sum().backward()
    for name, parameter in backbone.named_parameters():
        if name in above:
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(backbone(ids, mask)[mask.bool()], expected, atol=0, rtol=0)


def _place(backbone: Backbone, name: str) -> int:
    return backbone.place(name.removeprefix("transformer.")).depth


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefix_of_all_layers_is_the_whole(family: str) -> None:
    backbone = tiny(family).eval()
    ids = torch.arange(5, 25).view(2, 10)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        found = backbone.prefix(ids, mask, layers=LAYERS)
        assert torch.equal(found, backbone(ids, mask))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefix_that_fails_leaves_nothing_behind(family: str) -> None:
    backbone = tiny(family).eval()
    ids = torch.arange(5, 25).view(2, 10)
    mask = torch.ones_like(ids)
    before = backbone(ids, mask)
    with pytest.raises((RuntimeError, IndexError, ValueError)):
        backbone.from_prefix(torch.ones(2, 10, 5), mask, layers=1)
    with pytest.raises((RuntimeError, IndexError)):
        backbone.prefix(ids + 1000, mask, layers=1)
    assert torch.equal(backbone(ids, mask), before)
    assert "transformer" in dict(backbone.named_children())


def test_a_repeated_layer_and_an_unknown_name_are_refused() -> None:
    albert = AutoConfig.for_model("albert", hidden_size=16, num_attention_heads=2)
    with pytest.raises(ConfigError, match=r"bert.*modernbert.*'albert'"):
        Backbone(albert)
    with pytest.raises(ConfigError, match=r"pooler\.dense\.weight"):
        tiny("bert").place("pooler.dense.weight")


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_layers_equal_eager_ones_without_a_variant_a_length(family: str) -> None:
    """Outputs and gradients, in double precision, of a whole model and one with a frozen layer."""
    eager, compiled = (tiny(family).double().eval() for _ in range(2))
    compiled.compile_layers()
    before = counters["stats"]["unique_graphs"]
    for frozen, shape in [(False, (4, 9)), (False, (5, 13)), (True, (4, 9)), (True, (3, 21))]:
        ids = torch.randint(5, 50, shape, generator=torch.Generator().manual_seed(shape[1]))
        mask = torch.ones_like(ids)
        mask[1, 5:] = 0
        found = []
        for backbone in (eager, compiled):
            for name, parameter in backbone.transformer.named_parameters():
                low = backbone.place(name).depth >= LAYERS
                parameter.requires_grad_(not (frozen and low))
            backbone.zero_grad()
            states = backbone(ids, mask)
            states.square().sum().backward()
            found.append((states, {n: p.grad for n, p in backbone.named_parameters()}))
        torch.testing.assert_close(found[1], found[0], atol=1e-9, rtol=1e-9)
    # of each kind of layer: one where all trains; a frozen one, that above it, and those further up
    kinds = len(set(getattr(compiled.config, "layer_types", ["alike"])))
    assert 1 <= counters["stats"]["unique_graphs"] - before <= 4 * kinds
