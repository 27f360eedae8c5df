"""A callback that keeps the weights of every process, to be named in a config."""

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class RankWeights(Callback):
    """Saves each rank's weights at the end of training."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder.mkdir(exist_ok=True)
        torch.save(pl_module.state_dict(), self.folder / f"{trainer.global_rank}.pt")
