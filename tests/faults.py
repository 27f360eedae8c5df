"""Test-only callbacks, named in a run's config: faults at exact places, and a trace of the steps.

A fault is keyed by what happens and by (rank, step), never by time.
"""

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import get_worker_info

from lit_mtl import checkpoints
from lit_mtl.data import datamodule
from lit_mtl.data.batch import Batch

Place = Literal[
    "setup", "sanity", "step", "validation", "last_batch", "test", "half_written", "no_manifest"
]


class Trace(Callback):
    """Appends what each step trained on, and what moved, to `trace_<rank>.jsonl`, after the step."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        frozen = [name for name, part in pl_module.named_parameters() if not part.requires_grad]
        resting = [name for name, module in pl_module.named_modules() if not module.training]
        line = {
            "position": [trainer.current_epoch, batch_idx],
            "rows": batch["row_id"].tolist(),
            "frozen": frozen,
            "resting": resting,
        }
        with Path(f"trace_{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


class BadWorker(Callback):
    """Lets a worker process fail at the batch that holds a row of the training split.

    Args:
        how: `raises`, `dies` or `hangs`.
    """

    def __init__(self, how: str) -> None:
        self.how = how

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        original: Callable[..., Batch] = vars(datamodule)["make_batch"]

        def failing(*args: Any, **kwargs: Any) -> Batch:
            if get_worker_info() is not None:
                if self.how == "raises":
                    raise ValueError("a broken row")
                if self.how == "dies":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(1000)
            return original(*args, **kwargs)

        vars(datamodule)["make_batch"] = failing


class StoppedWorker(Callback):
    """Lets a worker terminate itself in the second epoch, after its parent, as it would be by others."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 1:
            original: Callable[..., Batch] = vars(datamodule)["make_batch"]

            def stopped(*args: Any, **kwargs: Any) -> Batch:
                if get_worker_info() is not None:
                    os.kill(os.getppid(), signal.SIGTERM)
                    time.sleep(0.2)
                    os.kill(os.getpid(), signal.SIGTERM)
                return original(*args, **kwargs)

            vars(datamodule)["make_batch"] = stopped


class Fault(Callback):
    """Does something to its own process, once for each marker file.

    Args:
        what: the signal to send; or `file_limit`, which lets larger writes fail from here on; or
            `nan_weight` or `nan_gradient`, which poison the next forward or backward pass.
        place: where.
        step: optimizer step at which; for `step` and `validation`.
        rank: in which process.
        marker: file that is left behind, so that the same command does not meet the fault twice.
        times: how often the signal is sent.
        group: whether it is sent to the process' whole group, as a terminal and schedulers do.
    """

    def __init__(
        self,
        what: str,
        place: Place = "step",
        step: int = 0,
        rank: int = 0,
        marker: str = "fault_done",
        times: int = 1,
        group: bool = False,
    ) -> None:
        self.what = what
        self.place = place
        self.step = step
        self.rank = rank
        self.marker = Path(marker)
        self.times = times
        self.group = group
        self._poison = False

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
        if trainer.global_step != self.step:
            return
        if self.place == "step":
            self._strike(trainer, pl_module)
        elif self.place == "half_written":
            self._strike_when(os, "fsync", trainer, pl_module)
        elif self.place == "no_manifest":
            self._strike_when(checkpoints, "sha256_of", trainer, pl_module)

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

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._poison:
            self._poison = False
            gradient = pl_module.get_parameter("_network.encoder.projection.weight").grad
            assert gradient is not None
            gradient[3, 4] = float("inf")

    def _strike_when(
        self, owner: Any, name: str, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        """Strike at the next call of a function: within the save that follows this hook."""
        original = getattr(owner, name)

        def struck(*args: Any) -> Any:
            self._strike(trainer, pl_module)
            return original(*args)

        setattr(owner, name, struck)

    def _strike(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_rank != self.rank or self.marker.exists():
            return
        self.marker.touch()
        if self.what == "nan_weight":
            with torch.no_grad():
                pl_module.get_parameter("_network.encoder.projection.weight").fill_(float("nan"))
            return
        if self.what == "file_limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
            return
        if self.what == "nan_gradient":
            self._poison = True
            return
        for _ in range(self.times):
            send = os.killpg if self.group else os.kill
            send(os.getpgid(0) if self.group else os.getpid(), signal.Signals[self.what])
