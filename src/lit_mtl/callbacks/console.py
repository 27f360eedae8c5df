"""What a run prints: the data and the rates before the first step, a line a validation."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from tabulate import tabulate

from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.data.batching import LengthGroupedSampler
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.splits import SPLITS
from lit_mtl.errors import printable
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.optim.param_groups import group_rows


class ConsoleReport(Callback):
    """Prints the data, the model and its parameter groups, and each validation's main metrics."""

    def __init__(self) -> None:
        self._begun = (0.0, 0)

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what is trained, and on what; the groups are those that the optimizer really has."""
        self._begun = (time.perf_counter(), trainer.global_step)
        datamodule = getattr(trainer, "datamodule", None)
        if isinstance(datamodule, SentimentDataModule):
            print(data_table(datamodule), end="\n\n")
        network = getattr(pl_module, "network", None)
        if isinstance(network, MultiTaskModel):
            print(model_line(network), end="\n\n")
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
        print(f"{self._place(trainer)}: {', '.join(parts)}")

    def _place(self, trainer: Trainer) -> str:
        """Where the training is, and how long it still takes at the pace of this process so far."""
        begun, first = self._begun
        step, total = trainer.global_step, trainer.estimated_stepping_batches
        parts = [f"epoch {trainer.current_epoch + 1}, step {step:,} of {total:,.0f}"]
        callbacks: list[Callback] = vars(trainer)["callbacks"]
        plans = [callback for callback in callbacks if isinstance(callback, StagedFreezing)]
        parts += [f"stage {plan.stage.name!r}" for plan in plans if plan.stages]
        if step > first:
            left = (time.perf_counter() - begun) / (step - first) * (total - step)
            parts.append(f"{left / 60:.1f} minutes left")
        return printable(", ".join(parts))


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


def group_table(groups: Iterable[Mapping[str, Any]]) -> str:
    """The optimizer's groups: name, depth, parameters, peak learning rate, weight decay."""
    headers = ["group", "depth", "parameters", "trainable", "lr", "weight decay"]
    rows = group_rows(groups)
    total = ["total", None, sum(row[2] for row in rows), sum(row[3] for row in rows), None, None]
    return tabulate([*rows, total], headers, intfmt=",", floatfmt=".3g")
