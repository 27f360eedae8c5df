import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from lit_mtl.model.backbone import Backbone
from lit_mtl.model.cpu_dropout import attention, dropout
from tests.model.families import FAMILIES, family_config


class Drawn(TorchDispatchMode):
    """Counts torch's own draws of what is dropped."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.draws += func.name() in ("aten::bernoulli_.float", "aten::native_dropout")
        return func(*args, **(kwargs or {}))


def backbone(family: str, **changes: Any) -> Backbone:
    torch.manual_seed(0)
    config = family_config(family)
    for name, value in changes.items():
        setattr(config, name, value)
    return Backbone(config)


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(5, 40, (3, 7))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return ids, mask


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1 / 65536])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_the_share_and_the_scale_are_those_of_the_probability(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    n = 1_000_003  # no multiple of the elements of a word
    found = dropout(torch.ones(n, dtype=dtype), p)
    exact = round(p * 65536) / 65536
    assert abs(exact - p) <= 1 / 131072
    dropped = int((found == 0).sum())
    assert abs(dropped - n * exact) < 5 * math.sqrt(n * exact * (1 - exact))
    assert found[found != 0].unique().tolist() == [torch.tensor(1 / (1 - exact), dtype=dtype)]


def test_elements_are_dropped_without_regard_to_each_other() -> None:
    torch.manual_seed(0)
    kept = (dropout(torch.ones(1_000_000), 0.3) != 0).double() - 0.7
    for distance in range(1, 9):  # four elements share a word
        correlation = (kept[distance:] * kept[:-distance]).mean() / 0.21
        assert abs(float(correlation)) < 5e-3
    lanes = kept.view(-1, 4).mean(dim=0)
    assert float(lanes.abs().max()) < 5 * math.sqrt(0.21 / 250_000)


def test_the_seed_decides_and_each_call_drops_anew() -> None:
    x = torch.randn(11, 13)
    torch.manual_seed(3)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_the_gradient_is_that_of_what_was_kept() -> None:
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    found = dropout(x, 0.25)
    found.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (found != 0).double() / 0.75, rtol=1e-15, atol=0)


@pytest.mark.parametrize("kind", ["none", "bool", "added"])
def test_attention_that_drops_almost_nothing_is_torchs(kind: str) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 2, 5, 4, dtype=torch.float64)
    allowed = torch.rand(2, 1, 5, 5) > 0.3
    allowed[..., 0] = True
    masks = {"none": None, "bool": allowed, "added": torch.where(allowed, 0.0, -1e9).double()}
    torch.manual_seed(4)  # nothing is dropped: the chance of that is 1 in 65,536 for each weight
    found = attention(query, key, value, masks[kind], p=1 / 65536, scale=0.3)
    expected = functional.scaled_dot_product_attention(query, key, value, masks[kind], scale=0.3)
    torch.testing.assert_close(found * (65535 / 65536), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_step_of_every_family_draws_the_cheap_way(family: str) -> None:
    own, (ids, mask) = backbone(family), batch()
    with Drawn() as training:
        first, second = own(ids, mask), own(ids, mask)
    has_dropout = not torch.equal(first, second)
    assert has_dropout == (family != "modernbert")  # whose dropout is 0 unless one asks for it
    assert training.draws == 0
    first.sum().backward()
    assert all(
        parameter.grad is None or parameter.grad.isfinite().all() for parameter in own.parameters()
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_over_many_forward_passes_is_that_of_torchs_own_dropout(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, (ids, mask) = backbone(family), batch()

    def mean() -> Tensor:
        torch.manual_seed(2)
        return torch.stack([own(ids, mask).detach() for _ in range(400)]).mean(dim=0)

    cheap = mean()
    own._compiled = True
    assert not torch.equal(mean(), cheap) or family == "modernbert"
    torch.testing.assert_close(mean(), cheap, rtol=0, atol=0.25)


def test_checkpointed_activations_have_torchs_dropout_and_its_gradients(tiny_bert: Path) -> None:
    """The layers run again in backward, where nothing is replaced."""
    gradients = []
    for checkpointed in (False, True):
        own, (ids, mask) = backbone("bert"), batch()
        if checkpointed:
            own.transformer.activation_checkpointing_enable({"use_reentrant": False})
        else:
            own._compiled = True  # torch's own dropout as well
        torch.manual_seed(5)
        own(ids, mask).pow(2).sum().backward()
        gradients.append([parameter.grad for parameter in own.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_without_a_gradient_nothing_is_replaced() -> None:
    own, (ids, mask) = backbone("bert"), batch()
    with torch.no_grad(), Drawn() as measured:
        own(ids, mask)
    assert measured.draws > 0
    with Drawn() as evaluated:
        own.eval()(ids, mask)
    assert evaluated.draws == 0
