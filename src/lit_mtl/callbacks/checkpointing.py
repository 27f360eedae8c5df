"""What a checkpoint must hold to be resumed bit for bit, when it is made, and which are kept.

A resumable checkpoint is made between two optimizer steps only, when validation and whatever else
was due after the last one has run: "epoch e, b batches done, nothing pending". The order of the
rows is a function of (seed, epoch, position), and the random numbers of a batch are one of (seed,
epoch, batch, rank), so nothing else has to be remembered. Lightning's own loops resume from such
a point exactly once their counters say so; they do not where its `ModelCheckpoint` saves.
"""

import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, Checkpoint, LearningRateFinder
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from lit_mtl.callbacks.weight_averaging import AveragedWeights
from lit_mtl.checkpoints import (
    STATES,
    manifest_of,
    read_checkpoint,
    read_manifest,
    remove_checkpoint,
    verify,
    write_checkpoint,
)
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.errors import ConfigError, StorageError
from lit_mtl.evaluation import diverged
from lit_mtl.files import atomic_writer, remove_partial
from lit_mtl.module import MultiTaskModule
from lit_mtl.signals import STOP_REQUESTS, Stopped

BEST = "best.ckpt"
BESTS = "best_*.ckpt"
LAST = "last.ckpt"

CALLBACKS = "trainer.callbacks."
"""Begin of the names of callbacks' settings: compared where a callback is in both runs.

Lightning's `EarlyStopping` would take its patience from the checkpoint, whatever the config says.
"""

_SAVE = 1
"""What the processes agree on at a step boundary: 0 nothing, 1 to save, else the signal to stop."""


class DurableCheckpointIO(CheckpointIO):
    """Lightning's way to the files of `checkpoints`: whole or not at all, and no code from them."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; `storage_options` are facts for its manifest."""
        write_checkpoint(checkpoint, Path(path), storage_options)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a local checkpoint, checked against its manifest."""
        return read_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and its manifest."""
        remove_checkpoint(Path(path))


class Checkpointing(Checkpoint):
    """Keeps the best weights and the newest resumable states, and stops cleanly on a signal.

    In the folder `checkpoints` of the run: `step_<n>.ckpt` with all that resuming takes, and
    `best_<n>.ckpt` with the weights of the best validation so far, which the former name and which
    is kept as long as one of them does. `last.ckpt` and `best.ckpt` are links to the newest.

    Args:
        every_n_steps: optimizer steps from one resumable checkpoint to the next. None: no such limit.
        every_n_minutes: the same in minutes. None: no such limit. One is made at the end of each
            epoch in any case.
        keep: resumable checkpoints to keep. Two, so that a damaged one is not the only one.
        monitor: the metric that selects the best weights. A misspelt metric of the validation is refused
            before the first step; with callbacks of your own, at the first validation.
        mode: `max` or `min`: which of its values is better.
        dirpath: the folder. None: `checkpoints` in the folder of the run.
    """

    def __init__(
        self,
        every_n_steps: int | None = None,
        every_n_minutes: float | None = 15.0,
        keep: int = 2,
        monitor: str = "val/selection",
        mode: Literal["max", "min"] = "max",
        dirpath: str | None = None,
    ) -> None:
        least = {"every_n_steps": every_n_steps, "every_n_minutes": every_n_minutes, "keep": keep}
        for name, value in least.items():
            if value is not None and value <= 0:
                raise ConfigError(f"Expected argument `{name}` to be positive, but got {value}")
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self.keep = keep
        self.monitor = monitor
        self.mode = mode
        self.dirpath = None if dirpath is None else Path(dirpath).expanduser()
        self.settings: dict[str, Any] = {}
        self.default_settings: dict[str, Any] = {}
        self.best_score: float | None = None
        self.finished = False
        self.last_path = Path()
        self._world_size = 1
        self._folder = Path()
        self._at_boundary = False
        self._may_continue = False
        self._saved_step = -1
        self._best_name: str | None = None
        self._saved_at = time.monotonic()
        self._started_at: float | None = None
        self._seconds_before = 0.0

    @property
    def seconds(self) -> float:
        """Duration of the training, that before a resumed checkpoint included."""
        since = 0.0 if self._started_at is None else time.monotonic() - self._started_at
        return self._seconds_before + since

    @property
    def best_path(self) -> Path | None:
        """The best weights, by their lasting name; None before the first validation."""
        if self._best_name is None:
            return None
        link = self._folder / BEST
        return link if link.exists() else self._folder / self._best_name

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the folder, and take the signals over from Lightning."""
        self._world_size = trainer.world_size
        if stage != TrainerFn.FITTING:
            return
        _refuse_tuners(trainer)
        # of an earlier fit; a checkpoint is read after this
        self.best_score, self._best_name, self.finished = None, None, False
        self._started_at, self._seconds_before, self._may_continue = None, 0.0, False
        self._folder = self.folder_of(trainer)
        if trainer.is_global_zero and self._folder.is_dir():
            remove_partial(self._folder)
        if STOP_REQUESTS.active:
            # Lightning's handlers would replace those; see `signals`
            trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]

    def folder_of(self, trainer: Trainer) -> Path:
        """Where a run keeps its checkpoints; a collective call."""
        return self.dirpath or Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"

    def has_states(self, trainer: Trainer) -> bool:
        """Whether a run has left something to continue; a collective call."""
        return any(self.folder_of(trainer).glob(STATES))

    def state_dict(self) -> dict[str, Any]:
        """What resuming takes beside Lightning's own state, in plain values."""
        return {
            "at_boundary": self._at_boundary,
            "finished": self.finished,
            "best_score": self.best_score,
            "best_name": self._best_name,
            "settings": self.settings,
            "world_size": self._world_size,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; which one may be continued is decided in `on_load_checkpoint`."""
        self.best_score = state_dict["best_score"]
        self._best_name = state_dict["best_name"]
        self.finished = state_dict["finished"]
        self._seconds_before = state_dict["seconds"]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Make the loops' counters say that nothing is pending."""
        if self._at_boundary and not self.finished:
            _settle(checkpoint["loops"]["fit_loop"])

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to continue what cannot be continued exactly.

        Raises:
            ConfigError: for one that was made with other settings or data.
        """
        if trainer.state.fn != TrainerFn.FITTING:
            return
        state = checkpoint["callbacks"].get(self.state_key, {})
        if not state.get("at_boundary"):
            return  # refused in `on_fit_start`
        self._may_continue = True
        datamodule = _datamodule(trainer)
        data = checkpoint[type(datamodule).__qualname__]
        keys = ("sentences", "fingerprint")
        old = {f"data's {key}": data[key] for key in keys}
        new = {f"data's {key}": datamodule.state_dict()[key] for key in keys}
        old |= {"number of processes": state["world_size"]}
        new |= {"number of processes": self._world_size} | self.settings
        if state["settings"]:
            # a setting of a later version is one that this checkpoint's run did without
            old |= self.default_settings | state["settings"]
        else:  # a run from Python has none, and is not taken for one with the defaults
            order = datamodule.state_dict()["order"]
            for name, value in data.get("order", {}).items():
                old[f"data's {name}"], new[f"data's {name}"] = value, order[name]
        _refuse_differences(old, new)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the best weights of a checkpoint from elsewhere; do not go on after an early end.

        Raises:
            ConfigError: for a checkpoint that was not made between two steps by this callback.
        """
        if trainer.ckpt_path is None:
            return
        if not self._may_continue:  # Lightning shows callbacks no checkpoint of weights alone
            raise ConfigError(
                f"{trainer.ckpt_path}: holds weights, but not the state of the training between "
                "two steps. Use it with test, predict or embed; to continue a training, name a "
                "step_<n>.ckpt of its run or use --ckpt_path auto"
            )
        self.last_path = Path(trainer.ckpt_path)
        if self.finished:
            trainer.should_stop = True
            rank_zero_info(
                f"{trainer.ckpt_path}: this training has ended, so nothing is trained; a new one begins "
                "with --ckpt_path never"
            )
        if self._best_name is not None and trainer.is_global_zero:
            self._bring_best(self.last_path.resolve().parent / self._best_name)
            self._link(trainer, BEST, self._folder / self._best_name)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a signal waits for the end of a step."""
        self._started_at = self._saved_at = time.monotonic()
        self._saved_step = trainer.global_step
        _correct_logged_step(trainer)
        STOP_REQUESTS.defer()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Between two steps: save or stop if that is due; then fix this batch's random numbers."""
        datamodule = _datamodule(trainer)
        epoch = trainer.current_epoch
        datamodule.position = (epoch, batch_idx)
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._between_steps(trainer, batch_idx)
        words = np.random.SeedSequence([datamodule.seed, epoch, batch_idx, trainer.global_rank])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best so far.

        Raises:
            ConfigError: if there is no such metric.
        """
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            raise ConfigError(
                f"Expected a logged metric as `checkpoint.monitor`, but got {self.monitor!r}; "
                f"there are {', '.join(sorted(trainer.callback_metrics))}"
            )
        score: float = trainer.strategy.broadcast(float(value))  # one decision for all processes
        sign = 1.0 if self.mode == "max" else -1.0
        # not a number is never better than anything, nor a model that gives none
        assert isinstance(pl_module, MultiTaskModule)
        if diverged(pl_module.results["val"]):
            return
        if sign * score > (-np.inf if self.best_score is None else sign * self.best_score):
            self.best_score = score
            self._best_name = f"best_{trainer.global_step}.ckpt"
            path = self._folder / self._best_name
            facts = {"kind": "weights", self.monitor: score}
            self._write(trainer, path, facts, weights_only=True)
            self._link(trainer, BEST, path)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the end, from which nothing continues but everything can be measured again."""
        self.finished = True
        self._seconds_before, self._started_at = self.seconds, None  # measuring is not training
        self._save(trainer, trainer.current_epoch, 0)
        decision = self._agree(trainer, STOP_REQUESTS.noted)
        if decision:
            raise self._stopped(decision)
        STOP_REQUESTS.resume()

    def _between_steps(self, trainer: Trainer, batch_idx: int) -> None:
        decision = self._agree(trainer, self._due(trainer, batch_idx))
        if decision:
            self._save(trainer, trainer.current_epoch, batch_idx)
        if decision > _SAVE:
            raise self._stopped(decision)

    def _stopped(self, signum: int) -> Stopped:
        return Stopped(signum, f"Saved {self.last_path}; --ckpt_path auto continues from it")

    def _due(self, trainer: Trainer, batch_idx: int) -> int:
        """This process' view: the noted signal, or whether a checkpoint is due."""
        if STOP_REQUESTS.noted:
            return STOP_REQUESTS.noted
        if not trainer.is_global_zero or trainer.global_step == self._saved_step:
            return 0
        steps = trainer.global_step - self._saved_step
        minutes = (time.monotonic() - self._saved_at) / 60
        return int(
            batch_idx == 0
            or (self.every_n_steps is not None and steps >= self.every_n_steps)
            or (self.every_n_minutes is not None and minutes >= self.every_n_minutes)
        )

    def _agree(self, trainer: Trainer, own: int) -> int:
        """The largest of all processes' values: a signal to one of them concerns all."""
        if trainer.world_size == 1:
            return own
        value = torch.tensor(own, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(value, reduce_op="max"))

    def _save(self, trainer: Trainer, epoch: int, batches: int) -> None:
        datamodule = _datamodule(trainer)
        datamodule.position = (epoch, batches)
        path = self._folder / f"step_{trainer.global_step}.ckpt"
        self._at_boundary = True
        facts = {
            "kind": "resumable",
            "position": [epoch, batches],
            "finished": self.finished,
            "best": self._best_name,
            "data": datamodule.state_dict()["fingerprint"],
        }
        try:
            self._write(trainer, path, facts)
        finally:
            self._at_boundary = False
        self.last_path = path
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        self._link(trainer, LAST, path)
        if trainer.is_global_zero:
            self._prune()

    def _write(
        self, trainer: Trainer, path: Path, facts: dict[str, Any], *, weights_only: bool = False
    ) -> None:
        """Write on the first process, and let all of them know if that has failed."""
        if getattr(trainer, "fast_dev_run", False):
            return
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only)
        if weights_only:  # Lightning shows such a checkpoint to no callback
            checkpoint["state_dict"] = _averaged(trainer) or checkpoint["state_dict"]
        problem = None
        if trainer.is_global_zero:
            try:
                write_checkpoint(checkpoint, path, facts)
            except StorageError as error:
                problem = str(error)
        if problem := trainer.strategy.broadcast(problem):
            raise StorageError(problem)

    def _link(self, trainer: Trainer, name: str, path: Path) -> None:
        """Point a lasting name at a checkpoint."""
        link, fresh = self._folder / name, self._folder / f".{name}"
        if not trainer.is_global_zero or not path.is_file():
            return
        fresh.unlink(missing_ok=True)
        try:
            fresh.symlink_to(path.name)
            fresh.replace(link)
        except OSError:
            rank_zero_info(f"{link}: the file system has no links; use {path}")

    def _prune(self) -> None:
        """Remove the states that are too old, and best weights that no other state names."""
        states = sorted(self._folder.glob(STATES), key=lambda path: path.stat().st_mtime_ns)
        for path in states[: -self.keep]:
            remove_checkpoint(path)
        named = {self._best_name}
        for path in states[-self.keep :]:
            with suppress(StorageError):  # a damaged one is reported where it is read
                named.add(read_manifest(path)["best"])
        for path in self._folder.glob(BESTS):
            if path.name not in named:
                remove_checkpoint(path)

    def _bring_best(self, source: Path) -> None:
        """Copy best weights to this run's folder, unless they are there."""
        target = self._folder / source.name
        if target.is_file() or target == source:
            return
        verify(source)
        for path in (source, manifest_of(source)):
            with path.open("rb") as old, atomic_writer(self._folder / path.name) as new:
                shutil.copyfileobj(old, new)


def _refuse_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Name each setting that differs with both values; None where one side has none."""
    both = {*old} & {*new}
    lines = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} here"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and (key in both or not key.startswith(CALLBACKS))
    ]
    if lines:
        raise ConfigError(
            f"The checkpoint was made with other settings: {'; '.join(lines)}. Continue with the "
            "same settings, or start a new run (--ckpt_path never)"
        )


def _refuse_tuners(trainer: Trainer) -> None:
    """They go on from weights of their own, and not from a state between two steps.

    Raises:
        ConfigError: naming the callback of Lightning.
    """
    callbacks: list[Callback] = vars(trainer)["callbacks"]
    for callback in callbacks:
        if isinstance(callback, BatchSizeFinder | LearningRateFinder):
            raise ConfigError(
                f"{type(callback).__name__} is not supported: compare some short runs, with "
                "`trainer.max_steps`, instead"
            )


def _datamodule(trainer: Trainer) -> SentimentDataModule:
    datamodule = getattr(trainer, "datamodule", None)
    if not isinstance(datamodule, SentimentDataModule):
        raise ConfigError("Checkpointing needs a SentimentDataModule, whose position it keeps")
    return datamodule


def _averaged(trainer: Trainer) -> dict[str, Any]:
    """The averaged weights, which were validated, where a run has them."""
    found = (c for c in vars(trainer)["callbacks"] if isinstance(c, AveragedWeights))
    return next((callback.weights for callback in found), {})


def _nothing() -> None:
    """In place of Lightning's registration of signal handlers."""


def _settle(fit_loop: dict[str, Any]) -> None:
    """Take the batch that has only been fetched out of the counters of Lightning's epoch loop.

    `on_train_batch_start` finds `ready` one ahead of the others. With all four equal, Lightning
    2.6.6 resumes behind the last step and whatever followed it (`RESTARTED_ON_LAST`).
    """
    progress = fit_loop["epoch_loop.batch_progress"]
    for part in ("total", "current"):
        progress[part] = progress[part] | {"ready": progress[part]["completed"]}
    progress["is_last_batch"] = False


def _correct_logged_step(trainer: Trainer) -> None:
    """Undo what Lightning 2.6.6 is about to do: count a step in passing over a validation.

    Resumed behind a validation, its epoch loop goes round once without a batch so as not to
    validate again, and `_batches_that_stepped`, the step of the loggers, would be one too many.
    """
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    if loop.restarting and fetcher is not None and loop._should_check_val_fx(fetcher):
        loop._batches_that_stepped -= 1
