"""What a run prints: data, model, plan and rates before the first step, a line a validation."""

import logging
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from tabulate import tabulate
from torch import Tensor

from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.data.batching import LengthGroupedSampler
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.splits import SPLITS
from lit_mtl.errors import printable
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.param_groups import group_rows

_ANNOUNCING = logging.getLogger("lightning.pytorch.utilities.rank_zero")
"""What callbacks say in the middle of an epoch, such as that a stage begins."""

_EVERY = 0.2
"""Seconds from one drawing of the line of progress to the next."""


class ConsoleReport(Callback):
    """Prints what is trained and how it goes.

    Args:
        live: keep a line of progress on standard error, which must be a terminal.
        detail: print every group of the optimizer, and after each validation all metrics.
    """

    def __init__(self, *, live: bool = False, detail: bool = False) -> None:
        self._live, self._detail = live, detail
        self._begun = (0.0, 0)
        self._drawn = 0.0  # when; 0 if no line stands there

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the line away before anything is announced over its beginning."""
        if self._live:
            _ANNOUNCING.addFilter(self._announced)

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The fit announces nothing more."""
        _ANNOUNCING.removeFilter(self._announced)

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what is trained, and on what; the groups are those that the optimizer really has."""
        self._begun = (time.perf_counter(), trainer.global_step)
        datamodule = getattr(trainer, "datamodule", None)
        if isinstance(datamodule, SentimentDataModule):
            print(data_table(datamodule), end="\n\n")
        network = getattr(pl_module, "network", None)
        if isinstance(network, MultiTaskModel):
            print(model_line(network))
        print(plan_line(trainer), end="\n\n")
        table = group_table if self._detail else part_table
        print(table(trainer.optimizers[0].param_groups), end="\n\n", flush=True)

    @rank_zero_only
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw where the training is, with each task's last loss."""
        shared = pl_module.shared if isinstance(pl_module, MultiTaskModule) else None
        if shared is not None and self._due():
            shown = ", ".join(f"{name} {loss:.3f}" for name, loss in shared.known().items())
            self._draw(f"{self._place(trainer)}; loss: {shown}")

    @rank_zero_only
    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Draw how much of the validation split is done."""
        if not trainer.sanity_checking:
            self._draw_evaluation("val", trainer.num_val_batches, *args, **kwargs)

    @rank_zero_only
    def on_test_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Draw how much of the test split is done."""
        self._draw_evaluation("test", trainer.num_test_batches, *args, **kwargs)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the line to what others print."""
        self._clear()

    @rank_zero_only
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the line to what others print."""
        self._clear()

    @rank_zero_only
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the line to what is said of the exception."""
        self._clear()
        self.on_fit_end(trainer, pl_module)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print one line, which also a log file keeps."""
        self._clear()
        datamodule = getattr(trainer, "datamodule", None)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or datamodule is None:
            return
        parts = []
        for name, task in datamodule.tasks.items():
            value = trainer.callback_metrics.get(f"val/{name}/{task.primary_metric}")
            parts.append(f"{name} {task.primary_metric} {_shown(value)}")
        print(f"{self._place(trainer)}: {', '.join(parts)}", flush=True)
        if self._detail:
            values = {
                key.removeprefix("val/"): _shown(value)
                for key, value in trainer.callback_metrics.items()
                if key.startswith("val/")
            }
            print(tabulate(values.items(), tablefmt="plain", disable_numparse=True), flush=True)

    def _place(self, trainer: Trainer) -> str:
        """Where the training is, and how long it still takes at the pace of this process so far."""
        begun, first = self._begun
        step, total = trainer.global_step, trainer.estimated_stepping_batches
        parts = [f"epoch {trainer.current_epoch + 1}, step {step:,} of {total:,.0f}"]
        parts += [f"stage {plan.stage.name!r}" for plan in _plans(trainer)]
        if step > first:
            left = (time.perf_counter() - begun) / (step - first) * (total - step)
            parts.append(f"{duration(left)} left")
        return printable(", ".join(parts))

    def _draw_evaluation(
        self,
        split: str,
        batches: list[int | float],
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._due():
            self._draw(f"{split}: batch {batch_idx + 1:,} of {batches[dataloader_idx]:,.0f}")

    def _due(self) -> bool:
        return self._live and time.perf_counter() - self._drawn >= _EVERY

    def _draw(self, text: str) -> None:
        """Write a line over the one before; what is printed next begins where it begins."""
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\033[K{printable(text)[:width]}\r")
        sys.stderr.flush()
        self._drawn = time.perf_counter()

    def _announced(self, record: logging.LogRecord) -> bool:
        self._clear()
        return True

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._drawn = 0.0


def duration(seconds: float) -> str:
    """A time in words: to the second below a minute, else to a tenth of the unit."""
    if seconds < 60:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"


def plan_line(trainer: Trainer) -> str:
    """How long it trains, by which stages, from where, and where its results go."""
    total = _counted(trainer.estimated_stepping_batches, "step")
    epochs = trainer.max_epochs
    parts = [total if epochs in (None, -1) else f"{_counted(epochs, 'epoch')}, {total}"]
    for plan in _plans(trainer):
        parts[0] += f" in {len(plan.stages)} stages: {', '.join(s.name for s in plan.stages)}"
    parts.append(f"precision {trainer.precision}")
    if trainer.global_step:
        parts.append(f"continued from step {trainer.global_step:,}")
    # not the Trainer's own `log_dir`, for which all processes have to ask together
    if folder := getattr(trainer.logger, "log_dir", None):
        parts.append(f"run folder {folder}")
    return printable("; ".join(parts))


def _counted(number: float, what: str) -> str:
    return f"{number:,.0f} {what}{'' if number == 1 else 's'}"


def _shown(value: Tensor | None) -> str:
    return "not defined" if value is None or value.isnan() else f"{value:.4f}"


def _plans(trainer: Trainer) -> list[StagedFreezing]:
    callbacks: list[Callback] = vars(trainer)["callbacks"]
    return [each for each in callbacks if isinstance(each, StagedFreezing) and each.stages]


def data_table(datamodule: SentimentDataModule) -> str:
    """Rows of each split and labelled rows of each task, the batches, and what was left out or cut."""
    corpus = datamodule.corpus
    assert corpus is not None, "the datamodule is set up"
    rows = [
        [split, len(corpus.splits[split])] + [corpus.labelled(split, name) for name in corpus.tasks]
        for split in SPLITS
    ]
    notes = [_batches(datamodule.train_sampler(), rows=len(corpus.splits["train"]))]
    notes += [
        ", ".join(
            [f"{name}: {reading.read:,} rows read"]
            + [f"{p.count:,} {reason}" for reason, p in reading.dropped.items() if p.count]
        )
        for name, reading in corpus.readings.items()
    ]
    notes += [
        f"{name}: no data, so no head is trained for it"
        for name in datamodule.declared_tasks
        if name not in corpus.tasks
    ]
    notes += [f"{path}: not read, it has no column for a task" for path in corpus.unused]
    if corpus.truncated.count:
        notes.append(
            f"{corpus.truncated.count:,} sentences are cut to "
            f"{datamodule.tokenizer.model_max_length} tokens"
        )
    return printable("\n".join([tabulate(rows, ["split", "sentences", *corpus.tasks]), *notes]))


def _batches(sampler: LengthGroupedSampler, *, rows: int) -> str:
    """Number, mean size and padding of the batches of an epoch."""
    mean = rows / (len(sampler) * sampler.world_size)
    return (
        f"an epoch: {len(sampler):,} training batches a process, of {mean:.1f} sentences on average; "
        f"{sampler.padding():.1%} of their tokens are padding"
    )


def model_line(network: MultiTaskModel) -> str:
    """What the network is made of, from the token ids to the heads."""
    backbone, own = network.encoder.backbone, network.architecture
    count = sum(parameter.numel() for parameter in backbone.parameters())
    heads = ", ".join(f"{name} ({task.kind})" for name, task in network.tasks.items())
    return printable(
        f"{backbone.config.model_type}, {backbone.num_layers} layers of {backbone.hidden_size}, "
        f"{count:,} parameters; {own.pooling} pooling; embeddings of {own.embedding_dim}"
        f"{', normalized' if own.normalize else ''}; heads: {heads}"
    )


def part_table(groups: Iterable[Mapping[str, Any]]) -> str:
    """The parts of the network: name, depth, parameters, peak learning rate."""
    parts: dict[str, tuple[str, int, int, int, float]] = {}
    for name, depth, count, trainable, lr, _ in group_rows(groups):
        part = name.partition("/")[0]  # with and without weight decay
        _, _, known, moving, _ = parts.get(part, (part, depth, 0, 0, lr))
        parts[part] = (part, depth, known + count, moving + trainable, lr)
    headers = ["part", "depth", "parameters", "trainable", "lr"]
    return _with_total(list(parts.values()), headers)


def group_table(groups: Iterable[Mapping[str, Any]]) -> str:
    """The optimizer's groups: name, depth, parameters, peak learning rate, weight decay."""
    headers = ["group", "depth", "parameters", "trainable", "lr", "weight decay"]
    return _with_total(group_rows(groups), headers)


def _with_total(rows: Sequence[tuple[Any, ...]], headers: list[str]) -> str:
    """A table whose third and fourth columns are counts, with their sums."""
    total = ["total", None, sum(row[2] for row in rows), sum(row[3] for row in rows)]
    return tabulate([*rows, total], headers, intfmt=",", floatfmt=".3g")
