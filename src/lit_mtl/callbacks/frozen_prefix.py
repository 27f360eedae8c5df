"""What it takes to run a frozen prefix of an encoder once for each row, and to find it again.

The prefix is the embeddings and the lowest layers; with all layers it gives pooled vectors.
Shapes: B rows, T tokens of the longest of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import xxhash
from lightning.pytorch import Trainer
from torch import Tensor

from lit_mtl.data.prefix_store import Prefix
from lit_mtl.model.sentence_encoder import SentenceEncoder
from lit_mtl.signals import STOP_REQUESTS

_Result = TypeVar("_Result")


class NotCachedError(Exception):
    """Says why the output of a prefix is not stored; it never leaves the callbacks."""


@contextmanager
def running(trainer: Trainer, encoder: SentenceEncoder, layers: int) -> Iterator[Prefix]:
    """Runs the prefix as a step does, with its output on the processor.

    Args:
        trainer: whose device and precision are used.
        encoder: its modules are in the modes in which they are to run.
        layers: how many of the lowest layers.
    """
    device = trainer.strategy.root_device

    def run(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        if STOP_REQUESTS.noted:
            raise NotCachedError("the run is asked to stop")
        return encoder.prefix(input_ids.to(device), attention_mask.to(device), layers=layers).cpu()

    with torch.no_grad(), trainer.precision_plugin.forward_context():
        yield run


def made_of(trainer: Trainer, encoder: SentenceEncoder, layers: int) -> dict[str, Any]:
    """All that decides about the output of the prefix, beside the ids and the code."""
    config = encoder.backbone.config
    return {
        "weights": sum_of_weights(encoder, layers),
        "config": config.to_json_string(use_diff=False),
        "attention": config._attn_implementation,
        "pooling": encoder.pooling.name,
        "precision": str(trainer.precision),
        "matmul": torch.get_float32_matmul_precision(),
        "device": trainer.strategy.root_device.type,
        "compiled": bool(getattr(trainer.lightning_module, "compile_layers", False)),
    }


def sum_of_weights(encoder: SentenceEncoder, layers: int) -> str:
    """A sum over names and values of what the lowest layers and the embeddings hold."""
    digest, backbone = xxhash.xxh3_128(), encoder.backbone
    for name, parameter in backbone.transformer.named_parameters():
        if backbone.place(name).depth > backbone.num_layers - layers:
            digest.update(name.encode())
            values = parameter.detach().cpu().contiguous().reshape(-1)
            digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def agreed(trainer: Trainer, action: Callable[[], _Result]) -> _Result:
    """What an action gives, if it succeeds on all processes.

    Raises:
        NotCachedError: if it does not on one of them.
    """
    found: list[_Result] = []
    failure = "another process could not do its share"
    try:
        found.append(action())
    except (NotCachedError, OSError) as error:
        failure = str(error)
    if not trainer.strategy.reduce_boolean_decision(bool(found), all=True):
        raise NotCachedError(failure)
    return found[0]
