"""Linear layers with packed weights, for inference on the CPU: equal but for rounding, and faster.

torch keeps weights in rows, and its library for matrices brings them into the processor's order in every
call. oneDNN, which torch contains, can do so once; torch itself uses that only in what it compiles
(`torch/_inductor/mkldnn_lowerings.py`). Its two operators are not part of torch's public interface: they
are tried once, and where they are missing or compute something else, layers run as they always do.

Shapes: R rows, I inputs, O outputs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def packed_linears(*, rows: int) -> AbstractContextManager[Any]:
    """A context, to be entered again and again, in which layers run with weights packed at first use.

    The packed copies live as long as the context, and weights must not change in the meantime. It needs
    inference mode. `torch.backends.mkldnn.enabled = False` switches it off.

    Args:
        rows: how many a layer gets at once, about; what is packed for them runs with any number.
    """
    usable = bool(torch.backends.mkldnn.enabled) and _works()
    return PackedLinears(rows) if usable else nullcontext()


class PackedLinears(TorchFunctionMode):
    """Takes `functional.linear` over where input and weight are float32 on the CPU.

    Args:
        rows: see `packed_linears`.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows = rows
        # the weight is kept too: while it lives, no other tensor gets its id
        self._packed: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, or the packed layer in its place."""
        if func is functional.linear and not kwargs and len(args) == 3 and _fits(*args[:2]):
            return self._linear(*args)
        return func(*args, **(kwargs or {}))

    def _linear(self, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Rows (…, I) through a weight (O, I) and a bias (O,) to (…, O)."""
        if id(weight) not in self._packed:
            self._packed[id(weight)] = (weight, _pack(weight, self._rows))
        return _multiply(rows, self._packed[id(weight)][1], bias)


def _fits(*tensors: Tensor) -> bool:
    return all(
        tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and tensor.layout == torch.strided
        for tensor in tensors
    )


def _pack(weight: Tensor, rows: int) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return packed


def _multiply(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return product


@cache
@torch.inference_mode()
def _works() -> bool:
    """Whether the operators are there and multiply."""
    rows, weight, bias = torch.eye(3), torch.arange(6.0).view(2, 3), torch.tensor([0.5, -1.0])
    try:
        found = _multiply(rows, _pack(weight, 3), bias)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, functional.linear(rows, weight, bias))
