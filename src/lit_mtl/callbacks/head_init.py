"""Heads that begin as the best linear ones on what the encoder gives before it is trained.

A random head first sends the backbone gradients that say nothing, which distort what it has learned
(Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features). Fitted heads are their linear probe
without its training: one pass over the sentences and a convex problem for each task.

Shapes: R rows, D embedding dimension.
"""

from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor, nn

from lit_mtl.callbacks.base_vectors import base_vectors
from lit_mtl.callbacks.staged_freezing import network_of
from lit_mtl.data.corpus import labelled_rows, targets_of
from lit_mtl.data.prefix_store import PrefixStore
from lit_mtl.errors import ConfigError
from lit_mtl.model.sentence_encoder import SentenceEncoder
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.linear_fit import fit_linear
from lit_mtl.tasks.base import Task

_MOST_ROWS = 100_000
"""Rows that a head is fitted on: far more than it has weights, and 0.2 GB at 256 dimensions."""

_CHUNK = 8192
"""Rows that are in memory in full at once."""


class HeadInit(Callback):
    """Chooses with which weights the heads begin.

    Args:
        method: `random`: torch's own of a linear layer. `fitted`: those with the least loss of the
            labelled training rows on the embeddings before the first step.
        l2: weight of the penalty on the size of a fitted head's weights; see `fit_linear`.
    """

    def __init__(self, method: Literal["random", "fitted"] = "random", l2: float = 0.3) -> None:
        if method not in ("random", "fitted"):
            raise ConfigError(
                f"Expected argument `method` to be random or fitted, but got {method!r}"
            )
        if not 0 < l2 < float("inf"):
            raise ConfigError(f"Expected argument `l2` to be above 0, but got {l2}")
        self.method = method
        self.l2 = l2

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fit the heads of a run that begins; one that goes on has those of its checkpoint.

        Those that a warm start has taken over stay as they are.
        """
        if self.method == "random" or trainer.ckpt_path is not None:
            return
        assert isinstance(pl_module, MultiTaskModule)
        network = network_of(pl_module)
        vectors = base_vectors(trainer, network.encoder)
        dataset = vars(trainer)["datamodule"].corpus.splits["train"]
        for name, task in network.tasks.items():
            rows, targets = labelled_rows(dataset, name), targets_of(dataset, name)
            if not len(rows) or not task.weight or name in pl_module.heads_taken_over:
                continue  # nothing to learn from, or to be learned, or learned before
            some = (
                np.linspace(0, len(rows) - 1, min(len(rows), _MOST_ROWS)).round().astype(np.int64)
            )
            embeddings = _embeddings(network.encoder, vectors, rows[some])
            self._fit(trainer, name, task, network.head_layer(name), embeddings, targets[some])

    def _fit(
        self,
        trainer: Trainer,
        name: str,
        task: Task,
        layer: nn.Linear,
        embeddings: Tensor,
        targets: NDArray[Any],
    ) -> None:
        target = torch.tensor(targets, dtype=task.target_dtype)
        target = target.double() if target.is_floating_point() else target

        def row_loss(output: Tensor) -> Tensor:
            return task.row_loss(output, target)

        found = fit_linear(embeddings, row_loss, outputs=task.output_dim, l2=self.l2)
        nothing = row_loss(embeddings.new_zeros(len(target), task.output_dim)).mean()
        set_layer(trainer, layer, found.weight, found.bias)
        rank_zero_info(
            f"The head {name!r} begins fitted to {len(target):,} rows: mean loss {found.loss:.4f}, "
            f"{float(nothing):.4f} of a head that is zero"
        )


def set_layer(trainer: Trainer, layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Give a layer the weights that the first process has, on all of them; a collective call."""
    weight, bias = trainer.strategy.broadcast((weight, bias))
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def _embeddings(encoder: SentenceEncoder, vectors: PrefixStore, rows: NDArray[np.int64]) -> Tensor:
    """Embeddings of rows from their pooled vectors, (R, D), in float64 on the processor."""
    device, layers = encoder.projection.weight.device, encoder.backbone.num_layers
    found = []
    with torch.no_grad():
        for part in torch.from_numpy(rows).to(device).split(_CHUNK):
            pooled = vectors.rows(part)
            embedding = encoder.from_prefix(pooled, torch.ones_like(part), layers=layers)
            found.append(embedding.cpu().double())
    return torch.cat(found)
