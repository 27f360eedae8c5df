"""The charts of a multi-task run, and what tells one run from another."""

from collections.abc import Iterable
from dataclasses import asdict

import torch
from lightning.pytorch import Callback, Trainer

from lit_mtl.callbacks.embedding_protection import EmbeddingProtection
from lit_mtl.callbacks.head_init import HeadInit
from lit_mtl.callbacks.projection_init import ProjectionInit
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.callbacks.weight_averaging import AveragedWeights
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.module import SELECTION_KEY, MultiTaskModule
from lit_mtl.tasks.base import Task

BEST_KEY = "best/selection"
"""The selecting metric of the best checkpoint, measured after the training."""

Layout = dict[str, dict[str, tuple[str, list[str]]]]
"""Category to chart to its kind and its tags, which are regular expressions."""


_INGREDIENTS: dict[str, tuple[type[Callback], str, object]] = {
    "projection_init.method": (ProjectionInit, "method", "orthogonal"),
    "head_init.method": (HeadInit, "method", "random"),
    "protection.weight": (EmbeddingProtection, "weight", 0.0),
    "averaging.decay": (AveragedWeights, "decay", 0.0),
}
"""Option to the callback that has it, under which name, and its value where it does nothing."""


def scalar_layout(tasks: dict[str, Task]) -> Layout:
    """The charts of the dashboard "Custom Scalars"."""
    loss = {name: _lines(f"train/{name}/loss$", f"val/{name}/loss$") for name in tasks}
    weighted = {
        f"{name}, weighted": _lines(f"train/{name}/weighted_loss$", f"val/{name}/weighted_loss$")
        for name in tasks
    }
    metrics = {
        f"{name}: {task.primary_metric}": _lines(f"val/{name}/{task.primary_metric}$")
        for name, task in tasks.items()
    }
    return {
        "selection": {"selecting metric": _lines(f"{SELECTION_KEY}$"), **metrics},
        "loss: training beside validation": {
            "sum, weighted": _lines("train/loss$", "val/loss$"),
            **loss,
            **weighted,
        },
        "gradients": {
            "norm by depth (0: heads and projection)": _lines("gradient_norm/.*"),
            "cosine between two tasks, at the sentence embedding": _lines("gradient_cosine/.*"),
        },
        "plan": {
            "learning rate": _lines("lr/.*/decay$"),
            "stage": _lines("stage/index$"),
            "trainable parameters": _lines("stage/trainable_parameters$"),
            "learned weight of a task's loss": _lines("train/.*/loss_weight$"),
            "weight of a task's gradient in what is shared": _lines("train/.*/shared_weight$"),
        },
        "speed": {
            "share of padding": _lines("train/padding$"),
            "sentences a second": _lines("throughput/sentences_per_second$"),
            "tokens a second": _lines("throughput/tokens_per_second$"),
            "share of the matrix rate": _lines("throughput/fraction_of_matrix_rate$"),
        },
        "embedding": {
            "similarities kept of before the training": _lines("embedding/kept_similarity$"),
            "pairs ranked as people do": _lines("embedding/pairs_spearman$"),
            "distance from the base, without its weight": _lines("train/protection$"),
            "mean cosine of two sentences": _lines("embedding/mean_cosine$"),
            "nearest sentence has the same label": _lines("embedding/neighbour_purity/.*"),
        },
    }


def hyperparameters(trainer: Trainer, module: MultiTaskModule) -> dict[str, str | float]:
    """The main settings of a run, by the names of their options; those that are not set are left out."""
    stages = [
        stage.name
        for callback in getattr(trainer, "callbacks", [])
        if isinstance(callback, StagedFreezing)
        for stage in callback.stages
    ]
    balanced = module.uncertainty is not None or module.upgrad is not None
    values: dict[str, object] = {
        **_ingredients(trainer),
        "model.backbone": module.backbone_name,
        **{f"model.{name}": value for name, value in asdict(module.rates).items()},
        **{f"model.{name}": value for name, value in asdict(module.architecture).items()},
        "model.warmup_fraction": module.warmup_fraction,
        "model.schedule": module.schedule,
        "model.loss_balancing": module.loss_balancing if balanced else None,
        "freezing.stages": ", ".join(stages) or "none",
        "trainer.max_epochs": trainer.max_epochs,
        "trainer.max_steps": trainer.max_steps,
        "trainer.precision": trainer.precision,
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
        "trainer.gradient_clip_val": trainer.gradient_clip_val,
        "processes": trainer.world_size,
        **{f"tasks.{name}.weight": task.weight for name, task in module.tasks.items()},
    }
    datamodule = getattr(trainer, "datamodule", None)
    if isinstance(datamodule, SentimentDataModule):
        values |= {
            "seed_everything": datamodule.seed,
            "data.batch_size": datamodule.batch_size,
            "data.batch_tokens": datamodule.batch_tokens,
            "data.max_length": datamodule.max_length,
            "data.mixing": datamodule.mixing,
        }
    return {
        name: value if isinstance(value, int | float) else str(value)
        for name, value in values.items()
        if value is not None
    }


def _ingredients(trainer: Trainer) -> dict[str, object]:
    """The options of those that are on."""
    return {
        option: getattr(callback, name)
        for option, (kind, name, off) in _INGREDIENTS.items()
        for callback in getattr(trainer, "callbacks", [])
        if isinstance(callback, kind) and getattr(callback, name) != off
    }


def result_tags(tasks: dict[str, Task], *, split: str) -> list[str]:
    """The tags of the results that runs are compared by: those of a split, and the selection.

    Args:
        tasks: the tasks by name.
        split: `test`, or `best` where there is no test split.
    """
    return [
        BEST_KEY,
        *(f"{split}/{name}/{metric}" for name, task in tasks.items() for metric in _names(task)),
    ]


def _names(task: Task) -> Iterable[str]:
    none = torch.empty(0, *task.target_shape, dtype=task.target_dtype)
    return task.metrics(torch.empty(0, task.output_dim), none)


def _lines(*tags: str) -> tuple[str, list[str]]:
    return "Multiline", list(tags)
