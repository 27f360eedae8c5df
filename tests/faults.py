"""Test-only callbacks, named in a run's config: faults at exact places, and a record of the rows.

A fault is keyed by what happens and by (rank, step), never by time.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

Place = Literal["setup", "sanity", "step", "validation", "last_batch", "test"]


class Rows(Callback):
    """Appends the rows of each training batch to `rows_<rank>.jsonl`, before the step."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        position = [trainer.current_epoch, batch_idx]
        with Path(f"rows_{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps([*position, batch["row_id"].tolist()]) + "\n")


class Fault(Callback):
    """Does something to its own process, once for each marker file.

    Args:
        what: the signal to send, or `nan_weight`, which poisons the next forward pass.
        place: where.
        step: optimizer step at which; for `step` and `validation`.
        rank: in which process.
        marker: file that is left behind, so that the same command does not meet the fault twice.
        times: how often the signal is sent.
    """

    def __init__(
        self,
        what: str,
        place: Place = "step",
        step: int = 0,
        rank: int = 0,
        marker: str = "fault_done",
        times: int = 1,
    ) -> None:
        self.what = what
        self.place = place
        self.step = step
        self.rank = rank
        self.marker = Path(marker)
        self.times = times

    @property
    def state_key(self) -> str:
        return f"Fault[{self.marker}]"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and self.place == "setup":
            self._strike(trainer, pl_module)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.place == "sanity":
            self._strike(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.place == "step" and trainer.global_step == self.step:
            self._strike(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.place == "last_batch" and trainer.is_last_batch:
            self._strike(trainer, pl_module)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        at = trainer.state.fn == "fit" and not trainer.sanity_checking
        if self.place == "validation" and at and trainer.global_step >= self.step:
            self._strike(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.place == "test":
            self._strike(trainer, pl_module)

    def _strike(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_rank != self.rank or self.marker.exists():
            return
        self.marker.touch()
        if self.what == "nan_weight":
            with torch.no_grad():
                pl_module.get_parameter("_network.projection.weight").fill_(float("nan"))
            return
        for _ in range(self.times):
            os.kill(os.getpid(), signal.Signals[self.what])
