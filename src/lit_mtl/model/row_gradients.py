"""The gradient of a large table of word embeddings, of which a step touches few rows.

On a processor torch makes it anew at every step: tens of megabytes are asked of the system, faulted in
page by page, filled with zeros and given back. Here the lookup gives the touched rows only, and they are
added to one buffer that stays and is the table's gradient, dense as optimizers and clipping want it.
"""

import sys

import torch
from torch import Tensor, nn
from torch.distributed import is_available, is_initialized
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

LEAST_BYTES = 32 << 20
"""Size from which on: what is smaller the C library keeps for the next step by itself."""

_KNOWN = WeakTensorKeyDictionary()
"""The tables whose gradients are kept."""


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """What torch calls `embedding`; after its backward pass `weight.grad` is a buffer that is used again.

    Where several processes exchange gradients it is torch's own, since they exchange dense ones; so it
    is for small tables. The buffer is not used again while something else refers to it itself; a view of it,
    or what `detach` gives, is overwritten by the next step.
    `torch.autograd.grad` gives the sparse gradient.
    """
    if not sparse and not scale_grad_by_freq and _is_kept(weight):
        sparse = True
        if weight not in _KNOWN:
            _KNOWN[weight] = weight.register_post_accumulate_grad_hook(_Buffer())
    return functional.embedding(
        input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
    )


def _is_kept(weight: Tensor) -> bool:
    return (
        isinstance(weight, nn.Parameter)
        and weight.requires_grad
        and weight.device.type == "cpu"
        and weight.numel() * weight.element_size() >= LEAST_BYTES
        and not (is_available() and is_initialized())
    )


class _Buffer:
    """Makes a table's sparse gradient dense, at the same place each time."""

    def __init__(self) -> None:
        self._dense: Tensor | None = None

    def __call__(self, weight: Tensor) -> None:
        """Called by torch when a gradient has been accumulated."""
        rows = weight.grad
        assert rows is not None
        if not rows.is_sparse:
            return  # the second of several batches of a step: its rows have been added to the buffer
        if self._dense is None or sys.getrefcount(self._dense) > _OWN_REFERENCES:
            self._dense = torch.empty_like(weight)
        # rows may stand there several times; on the processor they are added in their order
        self._dense.zero_().index_add_(0, rows._indices()[0], rows._values())
        weight.grad = self._dense


_OWN_REFERENCES = 2
"""That of the attribute and that of the call that counts them."""
