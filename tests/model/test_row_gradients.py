"""The gradient of a large table is torch's own, in a buffer that is used again."""

import copy
import gc
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from lit_mtl.model import row_gradients
from lit_mtl.model.row_gradients import embedding

ROWS = 50


@pytest.fixture(autouse=True)
def every_table_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_gradients, "LEAST_BYTES", 1)


def table(seed: int = 0) -> nn.Parameter:
    torch.manual_seed(seed)
    return nn.Parameter(torch.randn(ROWS, 3, dtype=torch.float64))


def ids(seed: int = 0) -> Tensor:
    """Some of them more than once, and row 0 among them."""
    torch.manual_seed(seed)
    found = torch.randint(0, 20, (4, 9))
    found[0, :2] = 0
    return found


def backward(weight: nn.Parameter, rows: Tensor, padding_idx: int | None = None) -> None:
    looked_up = embedding(rows, weight, padding_idx)
    (looked_up * torch.arange(looked_up.numel()).view(looked_up.shape)).sum().backward()


def torchs(weight: nn.Parameter, *batches: Tensor, padding_idx: int | None = None) -> Tensor:
    own = nn.Parameter(weight.detach().clone())
    for rows in batches:
        looked_up = nn.functional.embedding(rows, own, padding_idx)
        (looked_up * torch.arange(looked_up.numel()).view(looked_up.shape)).sum().backward()
    assert own.grad is not None
    return own.grad


def gradient(weight: nn.Parameter) -> Tensor:
    assert weight.grad is not None
    assert not weight.grad.is_sparse
    return weight.grad


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_the_gradient_is_torchs_and_so_is_the_sum_of_several(padding_idx: int | None) -> None:
    weight = table()
    backward(weight, ids(1), padding_idx)
    expected = torchs(weight, ids(1), padding_idx=padding_idx)
    torch.testing.assert_close(gradient(weight), expected)
    backward(weight, ids(2), padding_idx)
    expected = torchs(weight, ids(1), ids(2), padding_idx=padding_idx)
    torch.testing.assert_close(gradient(weight), expected)


def test_the_next_step_finds_the_same_memory_and_nothing_of_the_last() -> None:
    weight = table()
    places = set()
    for seed in range(5):
        weight.grad = None
        backward(weight, ids(seed))
        gradient(weight).add_(1)  # as noise or clipping does, in rows that no step touches too
        places.add(gradient(weight).data_ptr())
        torch.testing.assert_close(gradient(weight) - 1, torchs(weight, ids(seed)))
    assert len(places) == 1


def test_a_gradient_that_somebody_keeps_stays_what_it_was() -> None:
    weight = table()
    backward(weight, ids(1))
    kept, expected = gradient(weight), gradient(weight).clone()
    weight.grad = None
    backward(weight, ids(2))
    assert torch.equal(kept, expected)
    torch.testing.assert_close(gradient(weight), torchs(weight, ids(2)))


def test_a_copy_has_a_gradient_of_its_own() -> None:
    weight = table()
    backward(weight, ids(1))
    other = copy.deepcopy(weight)
    other.grad = None
    backward(other, ids(2))
    torch.testing.assert_close(gradient(weight), torchs(weight, ids(1)))
    torch.testing.assert_close(gradient(other), torchs(weight, ids(2)))


def test_buffer_and_table_go_together() -> None:
    weight = table()
    backward(weight, ids(1))
    gone = weakref.ref(gradient(weight))
    del weight
    gc.collect()
    assert gone() is None


def test_a_frozen_or_small_table_is_torchs_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = table().requires_grad_(False)
    assert not embedding(ids(), frozen).requires_grad
    monkeypatch.setattr(row_gradients, "LEAST_BYTES", ROWS * 3 * 8 + 1)
    weight = table()
    backward(weight, ids(1))
    assert weight not in row_gradients._KNOWN
    torch.testing.assert_close(gradient(weight), torchs(weight, ids(1)), rtol=0, atol=0)


def test_processes_that_exchange_gradients_have_dense_ones(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        weight = table()
        backward(weight, ids(1))
    finally:
        distributed.destroy_process_group()
    assert weight not in row_gradients._KNOWN
    torch.testing.assert_close(gradient(weight), torchs(weight, ids(1)), rtol=0, atol=0)
