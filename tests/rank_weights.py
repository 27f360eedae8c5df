"""Callbacks that keep the weights of every process, to be named in a config."""

import hashlib
import json
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


class RankSums(Callback):
    """Appends a hash of each rank's weights at every epoch's end to `sums.jsonl`."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        digest = hashlib.sha256()
        for value in pl_module.state_dict().values():
            digest.update(value.numpy().tobytes())
        line = {"rank": trainer.global_rank, "epoch": trainer.current_epoch}
        with Path("sums.jsonl").open("a") as file:
            file.write(json.dumps(line | {"sum": digest.hexdigest()}) + "\n")
