"""Keeps the sentence embedding near the one that the pre-trained backbone gives.

Trained on labels alone, an embedding may end up ordering sentences by label and by nothing else. The
term `weight * (1 - cos(embedding, embedding of the base))` works against that. The base is the backbone
and the projection as they were before the first step. It is frozen, so each row's vector is
computed once and not at every step.

Shapes: B rows, D embedding dimension.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional

from lit_mtl.callbacks.base_vectors import base_vectors
from lit_mtl.callbacks.frozen_prefix import sum_of_weights
from lit_mtl.callbacks.staged_freezing import network_of
from lit_mtl.data.prefix_store import PrefixStore
from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.model.precision import own_precision
from lit_mtl.model.sentence_encoder import SentenceEncoder
from lit_mtl.module import MultiTaskModule, Regularizer

NAME = "protection"


class EmbeddingProtection(Callback):
    """Adds the term to the training loss and logs it, without its weight, as `train/protection`.

    Args:
        weight: factor of the term; 0: no such term.
    """

    def __init__(self, weight: float = 0.0) -> None:
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"Expected argument `weight` to be at least 0, but got {weight}")
        self.weight = weight
        self._projection: dict[str, Tensor] = {}
        self._backbone = ""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute what the base gives for each row, or find it.

        Raises:
            ConfigError: without a pre-trained backbone, or if a continued run finds another one.
        """
        if not self.weight:
            return
        assert isinstance(pl_module, MultiTaskModule)
        if not pl_module.pretrained:
            raise ConfigError(
                "`protection.weight` keeps the embedding of a pre-trained backbone; "
                "`model.pretrained` is false, and a random one has none to keep. Set it to 0"
            )
        encoder = network_of(pl_module).encoder
        if trainer.ckpt_path is None:
            state = encoder.projection.state_dict()
            self._projection = {name: part.cpu().clone() for name, part in state.items()}
            self._backbone = sum_of_weights(encoder, encoder.backbone.num_layers)
        elif not self._backbone:
            return  # a checkpoint without its state, which `Checkpointing` refuses with the reason
        else:
            encoder = self._base(trainer, pl_module)
        device = trainer.strategy.root_device
        projection = {name: part.to(device) for name, part in self._projection.items()}
        drift = _Drift(base_vectors(trainer, encoder), projection)
        pl_module.regularizers[NAME] = Regularizer(self.weight, drift)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the base."""
        assert isinstance(pl_module, MultiTaskModule)
        pl_module.regularizers.pop(NAME, None)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """The same."""
        self.on_train_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The base: its projection, and a sum of the backbone's weights, which are read again."""
        return {"projection": self._projection, "backbone": self._backbone}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the base of a checkpoint."""
        self._projection = state_dict["projection"]
        self._backbone = state_dict["backbone"]

    def _base(self, trainer: Trainer, module: MultiTaskModule) -> SentenceEncoder:
        """The encoder as it was before the first step, less its projection.

        Raises:
            ConfigError: if its backbone's weights are no longer what they were.
        """
        own = module.network
        with torch.random.fork_rng(devices=[]):
            model = MultiTaskModel.from_backbone(
                module.backbone_name, tasks=own.tasks, architecture=own.architecture
            )
        encoder = model.encoder
        trainer.precision_plugin.convert_module(encoder)
        encoder.to(trainer.strategy.root_device)
        if module.compile_layers:
            encoder.backbone.compile_layers()
        if sum_of_weights(encoder, encoder.backbone.num_layers) != self._backbone:
            raise ConfigError(
                f"The checkpoint's run protects the embedding of other weights than those that the "
                f"backbone {module.backbone_name!r} has now. Continue with the same, or start a new run"
            )
        return encoder


class _Drift:
    """How far embeddings have moved from those of the base, by direction alone.

    Args:
        vectors: the base's pooled vector of each row.
        projection: the base's `weight` and `bias`.
    """

    def __init__(self, vectors: PrefixStore, projection: dict[str, Tensor]) -> None:
        self._vectors = vectors
        self._projection = projection

    def __call__(self, embedding: Tensor, row_id: Tensor) -> Tensor:
        """From embeddings (B, D) and row numbers (B,) to 1 - cos, (B,)."""
        with own_precision(embedding.device):
            base = functional.linear(self._vectors.rows(row_id), **self._projection)
            return 1 - functional.cosine_similarity(embedding, base, dim=-1)
