import torch
from torch import nn

from lit_mtl.model.views import Given, view


def nested() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.Tanh()), nn.Linear(3, 1))


X = torch.arange(8.0).view(4, 2)


def test_a_view_exchanges_what_it_is_told_to_and_leaves_the_module_alone() -> None:
    module = nested()
    whole = module(X)
    seen = view(module, {"0.1": nn.ReLU()})
    first, last = module.get_submodule("0.0"), module.get_submodule("1")
    assert torch.equal(seen(X), last(first(X).relu()))
    assert not torch.equal(seen(X), whole)
    assert torch.equal(module(X), whole)
    assert [name for name, _ in seen.named_parameters()] == [
        n for n, _ in module.named_parameters()
    ]


def test_a_view_without_a_part() -> None:
    assert view(nested(), {"0.1": None}).get_submodule("0")._modules["1"] is None


def test_all_else_is_shared() -> None:
    module = nested()
    seen = view(module, {"0.1": nn.ReLU()})
    assert all(a is b for a, b in zip(seen.parameters(), module.parameters(), strict=True))
    seen(X).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    module[1].eval()
    assert not seen[1].training
    calls = []
    module[0].register_forward_hook(lambda *_: calls.append(1))
    seen(X)
    assert calls == [1]


def test_given_is_given_whatever_is_asked() -> None:
    assert Given(X)(1, None, ids=2) is X
    assert view(nested(), {"0": Given(torch.ones(4, 3))})(X).shape == (4, 1)
