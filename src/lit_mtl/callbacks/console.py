"""What a run prints: the data and the rates before the first step, a line a validation."""

from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from tabulate import tabulate

from lit_mtl.data.batching import LengthGroupedSampler
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.splits import SPLITS
from lit_mtl.errors import printable
from lit_mtl.optim.param_groups import group_rows


class ConsoleReport(Callback):
    """Prints the data and the parameter groups of a run, and each validation's main metrics."""

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print both tables; the groups are those that the optimizer really has."""
        datamodule = getattr(trainer, "datamodule", None)
        if isinstance(datamodule, SentimentDataModule):
            print(data_table(datamodule), end="\n\n")
        print(group_table(trainer.optimizers[0].param_groups), end="\n\n")

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print one line, which also a log file keeps."""
        datamodule = getattr(trainer, "datamodule", None)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or datamodule is None:
            return
        parts = []
        for name, task in datamodule.tasks.items():
            value = trainer.callback_metrics.get(f"val/{name}/{task.primary_metric}")
            shown = "not defined" if value is None else f"{value:.4f}"
            parts.append(f"{name} {task.primary_metric} {shown}")
        step = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
        print(f"{step}: {', '.join(parts)}")


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
            f"{corpus.truncated.count:,} sentences are cut to {datamodule.max_length} tokens"
        )
    return printable("\n".join([tabulate(rows, ["split", "sentences", *corpus.tasks]), *notes]))


def _batches(sampler: LengthGroupedSampler, *, rows: int) -> str:
    """Number, mean size and padding of the batches of an epoch."""
    mean = rows / (len(sampler) * sampler.world_size)
    return (
        f"an epoch: {len(sampler):,} training batches a process, of {mean:.1f} sentences on average; "
        f"{sampler.padding():.1%} of their tokens are padding"
    )


def group_table(groups: Iterable[Mapping[str, Any]]) -> str:
    """The optimizer's groups: name, depth, parameters, peak learning rate, weight decay."""
    headers = ["group", "depth", "parameters", "trainable", "lr", "weight decay"]
    rows = group_rows(groups)
    total = ["total", None, sum(row[2] for row in rows), sum(row[3] for row in rows), None, None]
    return tabulate([*rows, total], headers, intfmt=",", floatfmt=".3g")
