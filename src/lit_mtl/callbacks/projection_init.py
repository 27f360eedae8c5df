"""A projection that begins with the directions in which the sentences differ, and not with random ones.

Shapes: R rows, H hidden dimension, D embedding dimension.
"""

from typing import Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_mtl.callbacks.base_vectors import base_vectors
from lit_mtl.callbacks.head_init import set_layer
from lit_mtl.callbacks.staged_freezing import network_of
from lit_mtl.errors import ConfigError
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.linear_maps import principal_directions

_CHUNK = 8192
"""Rows that are in memory in full at once."""


class ProjectionInit(Callback):
    """Chooses with which weights the projection begins; it has to stand before what reads it.

    Args:
        method: `orthogonal`: a random semi-orthogonal map, which keeps cosines as far as a random choice
            of directions does. `pca`: the principal directions of the training sentences' pooled
            vectors at length 1, not centred. Of all maps to as many dimensions it changes the
            inner products of these vectors, which are their cosines, the least in the sum of squares
            (Eckart & Young 1936, The approximation of one matrix by another of lower rank).
    """

    def __init__(self, method: Literal["orthogonal", "pca"] = "orthogonal") -> None:
        if method not in ("orthogonal", "pca"):
            raise ConfigError(
                f"Expected argument `method` to be orthogonal or pca, but got {method!r}"
            )
        self.method = method

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the projection of a run that begins; one that goes on has that of its checkpoint."""
        if self.method == "orthogonal" or trainer.ckpt_path is not None:
            return
        assert isinstance(pl_module, MultiTaskModule)
        if pl_module.warm_start:
            raise ConfigError(
                "`projection_init.method: pca` would replace the projection that `model.warm_start` takes "
                "over. Leave one of them out"
            )
        encoder = network_of(pl_module).encoder
        size, hidden = encoder.projection.weight.shape
        if size >= hidden:
            rank_zero_info(
                f"The projection from {hidden} to {size} dimensions keeps all cosines as it begins; "
                "there is nothing for principal directions to choose"
            )
            return
        vectors = base_vectors(trainer, encoder)
        rows = torch.arange(len(vars(trainer)["datamodule"].corpus.splits["train"]))
        parts = (vectors.rows(part) for part in rows.split(_CHUNK))
        directions, kept = principal_directions(parts, count=size)
        set_layer(trainer, encoder.projection, directions, directions.new_zeros(size))
        rank_zero_info(
            f"The projection begins with {size} principal directions of {len(rows):,} sentences, "
            f"which keep {kept:.4f} of their squared length in {hidden} dimensions"
        )
