"""What a user sees of a run in TensorBoard, beside the scalars that the module logs itself.

Everything here is done by the first process alone, draws no random number, and changes neither weights nor
checkpoints. What fails is a warning: a picture that cannot be drawn must not end the training, nor leave
the other processes waiting for the first one. So there is one collective call only, by which a validation
brings the embeddings of the sampled sentences together, and it depends on nothing that only one process does.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from lit_mtl.callbacks.board_layout import (
    BEST_KEY,
    hyperparameters,
    result_tags,
    scalar_layout,
)
from lit_mtl.callbacks.gradients import depth_norms, task_cosines
from lit_mtl.callbacks.projector import Sample, seen_rows
from lit_mtl.callbacks.split_board import SplitBoard
from lit_mtl.callbacks.split_rows import SplitRows, evenly
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.errors import ConfigError
from lit_mtl.evaluation import scalars, selection
from lit_mtl.module import MultiTaskModule

_DRAWN = 10
"""Validations of a run that are drawn: of more pictures TensorBoard shows ten at random."""


class Dashboards(Callback):
    """Fills TensorBoard's dashboards where a TensorBoardLogger is among the loggers.

    Args:
        enabled: whether anything is shown beside the scalars of losses, metrics and rates.
        every_n_steps: optimizer steps from one look at the gradients to the next. None: those of
            `trainer.log_every_n_steps`.
        sample_rows: rows of the validation split, at most, that are points of the projector and of
            the figures of single rows. Before the first step the encoder runs on them once, for the
            projector's first picture. 0: no projector, and no such run.
    """

    def __init__(
        self, enabled: bool = True, every_n_steps: int | None = None, sample_rows: int = 500
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ConfigError(
                f"Expected argument `every_n_steps` to be at least 1, but got {every_n_steps}"
            )
        if sample_rows < 0:
            raise ConfigError(
                f"Expected argument `sample_rows` to be at least 0, but got {sample_rows}"
            )
        self.enabled = enabled
        self.every_n_steps = every_n_steps
        self.sample_rows = sample_rows
        self._sample: Sample | None = None
        self._base: dict[int, Tensor] = {}
        self._ended: Any = None
        self._trained = False
        self._undrawn = False

    def state_dict(self) -> dict[str, Any]:
        """The sample's embeddings before the training, with which a continued run compares too."""
        if not self._base:
            return {}
        return {"rows": list(self._base), "vectors": torch.stack(list(self._base.values()))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them over."""
        self._base = dict(zip(state_dict["rows"], state_dict["vectors"], strict=True))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the sample of a former fit."""
        if stage == TrainerFn.FITTING:
            self._sample = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lay out the charts, name the settings, and take the picture before the training."""
        module, data = _module(pl_module), _datamodule(trainer)
        if self._is_shown(trainer) and data is not None:
            _tried("the projector", lambda: self._choose_sample(trainer, data))
        writer = self._writer(trainer)
        if writer is None:
            return
        writer.add_custom_scalars(scalar_layout(module.tasks))
        split = "test" if data is not None and data.has_test else "best"
        tags = dict.fromkeys(result_tags(module.tasks, split=split), 0.0)
        experiment, start, self._ended = hparams(hyperparameters(trainer, module), tags)
        for summary in (experiment, start):
            writer._get_file_writer().add_summary(summary)
        self._trained = True
        sample, folder = self._sample, Path(writer.log_dir)
        if sample is not None and data is not None:
            _tried(
                "the projector", lambda: self._begin_sample(sample, trainer, module, data, folder)
            )

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Compare the tasks' gradients at the shared embedding, and log their losses' weights."""
        writer = self._writer(trainer)
        module = _module(pl_module)
        if writer is None or module.shared is None or not self._is_due(trainer):
            return
        shared, weights = module.shared, _weights(module)
        step = _step(trainer)
        for name, value in shared.known().items():
            writer.add_scalar(f"train/{name}/weighted_loss", float(value) * weights[name], step)
        cosines = task_cosines(shared.losses, shared.embedding, weights=weights)
        for (one, other), cosine in cosines.items():
            writer.add_scalar(f"gradient_cosine/{one}-{other}", cosine, step)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Log the gradients' norm at each depth: of true size, and not clipped yet."""
        writer = self._writer(trainer)
        if writer is None or not self._is_due(trainer):
            return
        for depth, norm in depth_norms(optimizer.param_groups).items():
            writer.add_scalar(f"gradient_norm/depth_{depth}", norm, _step(trainer))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew with the sampled rows."""
        if self._sample is not None:
            self._sample.vectors.clear()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the embeddings of the sampled rows."""
        if self._sample is not None and isinstance(outputs, Tensor):
            self._sample.update(batch["row_id"], outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring together what each process has kept of them."""
        if self._sample is not None:
            size = _module(pl_module).architecture.embedding_dim
            self._sample.gather(size, pl_module.device)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the weighted losses; after the training, show what the best checkpoint does."""
        writer = self._writer(trainer)
        if writer is None or trainer.sanity_checking:
            return
        module = _module(pl_module)
        if trainer.state.fn == TrainerFn.FITTING:
            self._undrawn = True
            weights = _weights(module)
            for name, result in module.results["val"].items():
                if result["loss"] is not None:
                    loss = result["loss"] * weights[name]
                    writer.add_scalar(f"val/{name}/weighted_loss", loss, _step(trainer))
        elif self._trained:
            _tried("the best checkpoint", lambda: self._show_best(trainer, module, writer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the embedding at the epoch's last validation, and draw this if it is one to draw."""
        writer = self._writer(trainer)
        if writer is not None and self._undrawn:
            self._undrawn = False
            module = _module(pl_module)
            if _is_drawn(trainer):
                _tried("a validation", lambda: self._show(trainer, module, writer, "val"))
            _tried("the embedding", lambda: self._show_health(trainer, writer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the picture after the training."""
        writer = self._writer(trainer)
        if writer is not None:
            module, folder = _module(pl_module), Path(writer.log_dir)
            _tried("the projector", lambda: self._end_sample(trainer, module, folder))

    def _is_shown(self, trainer: Trainer) -> bool:
        """Whether there is a TensorBoard to show anything in; the same on all processes."""
        return self.enabled and any(isinstance(one, TensorBoardLogger) for one in trainer.loggers)

    def _writer(self, trainer: Trainer) -> SummaryWriter | None:
        """The first TensorBoardLogger's writer on the first process."""
        if not self._is_shown(trainer) or not trainer.is_global_zero:
            return None
        return next(
            (
                logger.experiment
                for logger in trainer.loggers
                if isinstance(logger, TensorBoardLogger)
            ),
            None,
        )

    def _is_due(self, trainer: Trainer) -> bool:
        """Whether the current step is one to look at; it does not depend on where a run was resumed.

        Of the batches that are accumulated for a step it is the last one, at which Lightning logs as well.
        """
        every = int(self.every_n_steps or getattr(trainer, "log_every_n_steps", None) or 0)
        due = every > 0 and (_step(trainer) + 1) % every == 0
        return due and not trainer.fit_loop._should_accumulate()

    def _choose_sample(self, trainer: Trainer, data: SentimentDataModule) -> None:
        """The same rows on all processes."""
        if self.sample_rows and trainer.limit_val_batches:
            rows = sorted(seen_rows(trainer, data))
            chosen = [rows[place] for place in evenly(len(rows), count=self.sample_rows)]
            self._sample = Sample(chosen=torch.tensor(chosen))

    def _begin_sample(
        self,
        sample: Sample,
        trainer: Trainer,
        module: MultiTaskModule,
        data: SentimentDataModule,
        folder: Path,
    ) -> None:
        if trainer.global_step:
            sample.base = self._base
        else:
            sample.embed(trainer, module, data)
            sample.write(folder, "before", module, data)
            sample.base, sample.vectors = sample.vectors, {}
            self._base = sample.base

    def _end_sample(self, trainer: Trainer, module: MultiTaskModule, folder: Path) -> None:
        data = _datamodule(trainer)
        if self._sample is not None and self._sample.vectors and data is not None:
            self._sample.write(folder, "after", module, data)

    def _show(
        self, trainer: Trainer, module: MultiTaskModule, writer: SummaryWriter, moment: str
    ) -> None:
        """Figures, curves and tables of the last validation, without another forward pass."""
        data = _datamodule(trainer)
        corpus = None if data is None else data.corpus
        board = SplitBoard(
            writer, corpus, moment=moment, step=_step(trainer), sample_rows=self.sample_rows
        )
        for name, outputs in module.outputs["val"].items():
            rows = SplitRows.finite(module.tasks[name], *outputs, module.row_ids["val"][name])
            board.show(name, rows, calibrated=moment == "best")

    def _show_health(self, trainer: Trainer, writer: SummaryWriter) -> None:
        data = _datamodule(trainer)
        if self._sample is not None and data is not None:
            for name, value in self._sample.health(data).items():
                writer.add_scalar(f"embedding/{name}", value, _step(trainer))

    def _show_best(self, trainer: Trainer, module: MultiTaskModule, writer: SummaryWriter) -> None:
        results, step = module.results["val"], _step(trainer)
        writer.add_scalar(BEST_KEY, selection(results, module.tasks), step)
        for name, result in results.items():
            for metric, value in scalars(result).items():
                if value is not None:
                    writer.add_scalar(f"best/{name}/{metric}", value, step)
        self._show(trainer, module, writer, "best")
        data = _datamodule(trainer)
        if self._sample is not None and data is not None:
            module.embedding_health |= self._sample.health(data)
        self._end_sample(trainer, module, Path(writer.log_dir))
        writer._get_file_writer().add_summary(self._ended)
        self._trained = False


def _tried(what: str, show: Callable[[], None]) -> None:
    try:
        show()
    except Exception as error:
        rank_zero_warn(f"TensorBoard: {what} could not be shown ({error!r}); the run goes on")


def _is_drawn(trainer: Trainer) -> bool:
    """Whether a validation in the current epoch is one of `_DRAWN`, evenly spread to the last epoch.

    It is where the number of epochs is not known, or the clock says when to validate. A resumed run
    draws those of an undisturbed one.
    """
    epochs, interval = trainer.max_epochs or -1, trainer.val_check_batch
    if epochs < 0 or interval is None:
        return True
    every = trainer.check_val_every_n_epoch or math.ceil(interval / trainer.num_training_batches)
    done = trainer.current_epoch + 1
    return _DRAWN * done // epochs > _DRAWN * max(done - every, 0) // epochs


def _step(trainer: Trainer) -> int:
    """The step under which Lightning logs as well: the optimizer steps before the current one."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def _module(pl_module: LightningModule) -> MultiTaskModule:
    assert isinstance(pl_module, MultiTaskModule), "the callback belongs to a MultiTaskModule"
    return pl_module


def _weights(module: MultiTaskModule) -> dict[str, float]:
    return {name: float(weight) for name, weight in module.weights_in_force().items()}


def _datamodule(trainer: Trainer) -> SentimentDataModule | None:
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, SentimentDataModule) else None
