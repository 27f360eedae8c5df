"""Freezing plans as text: what a plan does, and a plan to begin with."""

import math
from collections.abc import Mapping, Sequence

from lightning.pytorch import Callback, Trainer
from tabulate import tabulate

from lit_mtl.callbacks.embedding_protection import EmbeddingProtection
from lit_mtl.callbacks.known_monitors import refuse_unknown_monitors
from lit_mtl.callbacks.staged_freezing import check_ends, checked_sets, refuse_idle_stages
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.freezing_plan import Stage, frozen_sets, relative_cost
from lit_mtl.optim.param_groups import Place, Rates
from lit_mtl.optim.selectors import depth_of_backbone


def refuse_as_fit(
    stages: Sequence[Stage],
    *,
    module: MultiTaskModule,
    data: SentimentDataModule,
    trainer: Trainer,
) -> None:
    """Refuse a plan that a fit would refuse before its first step, and warn of what it would warn of.

    Args:
        stages: the plan, of a stage at least.
        module: what would be trained, built.
        data: what a fit would train on, set up.
        trainer: what would train.

    Raises:
        ConfigError: naming the stage and what is wrong with it.
    """
    checked_sets(stages, module.network)
    refuse_unknown_monitors(trainer, module, data)
    callbacks: list[Callback] = vars(trainer)["callbacks"]
    if not any(isinstance(each, EmbeddingProtection) and each.weight for each in callbacks):
        refuse_idle_stages(stages, module.network)
    an_epoch, total = expected_steps(trainer, data)
    check_ends(stages, steps_an_epoch=an_epoch, total_steps=total)


def expected_steps(trainer: Trainer, data: SentimentDataModule) -> tuple[int, float]:
    """Optimizer steps of an epoch and of a whole fit, which the Trainer itself knows only in one.

    Args:
        trainer: what would train.
        data: what on, set up; it then belongs to the Trainer.
    """
    data.trainer = trainer  # whose processes share the rows
    batches, limit = len(data.train_sampler()), trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    an_epoch = -(-batches // trainer.accumulate_grad_batches)
    epochs, steps = trainer.max_epochs, trainer.max_steps
    total = math.inf if epochs in (None, -1) else an_epoch * epochs
    return an_epoch, total if steps == -1 else min(total, steps)


def stage_table(stages: Sequence[Stage], network: MultiTaskModel) -> str:
    """A row a stage: its end, what is frozen, trainable parameters, cost of a step."""
    places = network.places()
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    rows = [
        [
            stage.name,
            end_of(stage),
            ", ".join(stage.freeze) or "nothing",
            sum(size for name, size in sizes.items() if name not in frozen),
            f"{relative_cost(frozen, places):.0%}",
            ", ".join(f"{task} {weight:g}" for task, weight in stage.loss_weights.items()),
        ]
        for stage, frozen in _resolved(stages, network)
    ]
    headers = ["stage", "until", "frozen", "trainable", "cost of a step", "loss weights"]
    return tabulate(rows, headers, intfmt=",")


def rate_table(stages: Sequence[Stage], network: MultiTaskModel, rates: Rates) -> str:
    """A row a part of the network, a column a stage: the peak learning rate, a dash if frozen."""
    places = network.places()
    parts = sorted(set(places.values()), key=lambda place: (place.depth, place.part))
    columns = [
        {part: _rate(part, places, frozen, rates.of(part) * stage.lr_scale) for part in parts}
        for stage, frozen in _resolved(stages, network)
    ]
    rows = [[part.part, *(column[part] for column in columns)] for part in parts]
    return tabulate(
        rows, ["learning rate", *(stage.name for stage in stages)], disable_numparse=True
    )


def end_of(stage: Stage) -> str:
    """When a stage ends, in words."""
    if stage.until_epoch is not None:
        return f"epoch {stage.until_epoch}"
    if stage.until_step is not None:
        return f"step {stage.until_step}"
    if stage.until_plateau is not None:
        return f"{stage.until_plateau.monitor} stalls {stage.until_plateau.patience}x"
    return "the end"


def gradual_plan(network: MultiTaskModel, *, epochs: int) -> str:
    """A plan that thaws from the top, layer by layer, as YAML to be edited.

    Args:
        network: the network that it is for.
        epochs: epochs of the run; the heads and each layer get an equal share of the first half of
            them, at least one epoch each.
    """
    layers = depth_of_backbone(network.places())
    pace = max(1, epochs // (2 * (layers + 1)))
    lines = [
        "freezing:",
        "  stages:",
        f"    - {{name: heads, freeze: [backbone], until_epoch: {pace}}}",
    ]
    for number, lowest in enumerate(range(layers - 1, 0, -1), start=2):
        lines.append(
            f"    - {{name: from_layer_{lowest}, freeze: [backbone.embeddings, "
            f"'backbone.layers[:{lowest}]'], until_epoch: {number * pace}, warmup_steps: 20}}"
        )
    needed = layers * pace + pace
    lines += [
        "    - {name: all, warmup_steps: 20}",
        f"trainer: {{max_epochs: {max(epochs, needed)}}}",
    ]
    return "\n".join(lines)


def _resolved(stages: Sequence[Stage], network: MultiTaskModel) -> list[tuple[Stage, set[str]]]:
    frozen = frozen_sets(stages, places=network.places(), tasks=list(network.tasks))
    return list(zip(stages, frozen, strict=True))


def _rate(part: Place, places: Mapping[str, Place], frozen: set[str], rate: float) -> str:
    names = [name for name, place in places.items() if place == part]
    resting = sum(name in frozen for name in names)
    if resting == len(names):
        return "-"
    return f"{rate:.3g}" if not resting else f"{rate:.3g} ({len(names) - resting}/{len(names)})"
