"""What a training step on a processor does otherwise than torch."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lit_mtl.model.cpu_dropout import functional_attention, functional_dropout
from lit_mtl.model.row_gradients import embedding

REPLACED: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.dropout: functional_dropout,
    functional.embedding: embedding,
    functional.scaled_dot_product_attention: functional_attention,
}


def cheap_step(transformer: Any) -> AbstractContextManager[object]:
    """A context in which a transformer's forward pass uses this project's functions, where they apply.

    They do for training in eager mode on the processor. Where activations are checkpointed the layers
    run a second time, outside of any such context, and would drop other elements.

    Args:
        transformer: of transformers.
    """
    cheap = (
        transformer.training
        and torch.is_grad_enabled()
        and transformer.device.type == "cpu"
        and not getattr(transformer, "is_activation_checkpointing", False)
        and not torch.compiler.is_compiling()
    )
    return _Replacing() if cheap else nullcontext()


class _Replacing(TorchFunctionMode):
    """Replaces some of torch's functions, whoever calls them."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call what stands in its place, or what was called."""
        return REPLACED.get(func, func)(*args, **(kwargs or {}))
