"""Small runs in double precision on the example sentences, for the ingredients of a recipe."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint

from lit_mtl.callbacks.staged_freezing import network_of
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.module import MultiTaskModule
from tests.conftest import example_data

State = dict[str, torch.Tensor]


class States(Callback):
    """Keeps the network's weights after each step, and the value of some logged metrics."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.states: list[State] = []
        self.logged: dict[str, list[float]] = {key: [] for key in keys}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        state = network_of(pl_module).state_dict()
        self.states.append({name: value.clone() for name, value in state.items()})
        for key in self.keys:
            self.logged[key].append(float(trainer.callback_metrics[key]))


def fitted(
    backbone: Path,
    *callbacks: Callback,
    data: SentimentDataModule | None = None,
    model: dict[str, Any] | None = None,
    ckpt_path: Path | None = None,
    **options: Any,
) -> tuple[MultiTaskModule, Trainer]:
    """A run of two epochs; what saves, where it is wanted, is among the callbacks."""
    seed_everything(0, workers=True)
    settings = {"lr": 1e-3, "schedule": "constant", "embedding_dim": 16, **(model or {})}
    module = MultiTaskModule(str(backbone), **settings)
    trainer = Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=any(isinstance(each, Checkpoint) for each in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **{"max_epochs": 2, "precision": "64-true", **options},
    )
    data = example_data(backbone) if data is None else data
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return module, trainer
