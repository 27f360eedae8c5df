"""A plan of stages: what is frozen when, and what a step then costs. Pure functions.

The frozen set of a stage is absolute, so that applying a stage twice equals once, a run can begin
at any stage, and a part may be frozen again later.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lit_mtl.errors import ConfigError
from lit_mtl.optim.param_groups import Place
from lit_mtl.optim.selectors import depth_of_backbone, select


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Ends a stage when a validation metric stops improving.

    Args:
        monitor: the key of the metric. A misspelt metric of the validation is refused before the first
            step; with callbacks of your own, at the first validation.
        patience: validations without an improvement after which the stage ends.
        mode: whether larger (`max`) or smaller (`min`) is better.
        min_delta: what counts as an improvement.
    """

    monitor: str = "val/selection"
    patience: int = 1
    mode: Literal["max", "min"] = "max"
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        """Check the patience."""
        if self.patience < 1:
            raise ConfigError(
                f"Expected argument `patience` to be at least 1, but got {self.patience}"
            )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a freezing plan.

    Args:
        name: its name in logs and messages.
        freeze: selectors of everything that is frozen in this stage; see `selectors`.
        until_epoch: the stage ends before this epoch, counted from 0.
        until_step: the stage ends before this optimizer step, counted from 0.
        until_plateau: the stage ends when this metric stops improving.
        warmup_steps: steps over which the learning rate of what is thawed here climbs again.
        loss_weights: weights of tasks' losses in this stage, instead of the tasks' own. With 0
            nothing learns from a task; freeze its head as well, or weight decay moves it. A frozen
            head whose weight is kept still teaches the encoder.
        lr_scale: factor of all learning rates in this stage.
    """

    name: str
    freeze: tuple[str, ...] = ()
    until_epoch: int | None = None
    until_step: int | None = None
    until_plateau: Plateau | None = None
    warmup_steps: int = 0
    loss_weights: dict[str, float] = field(default_factory=dict)
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        """Check what can be checked without the network."""
        object.__setattr__(self, "freeze", tuple(self.freeze))
        for name in ("until_epoch", "until_step"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{self}: expected `{name}` to be at least 1, but got {value}")
        if self.warmup_steps < 0:
            raise ConfigError(f"{self}: expected `warmup_steps` to be at least 0")
        if not self.lr_scale > 0:
            raise ConfigError(f"{self}: expected `lr_scale` to be above 0; freeze what must rest")
        if not all(weight >= 0 for weight in self.loss_weights.values()):
            raise ConfigError(f"{self}: expected `loss_weights` to be at least 0")

    def __str__(self) -> str:
        """How messages name the stage."""
        return f"Stage {self.name!r}"

    @property
    def ends(self) -> list[str]:
        """The kinds of end that are set."""
        kinds = ("until_epoch", "until_step", "until_plateau")
        return [kind for kind in kinds if getattr(self, kind) is not None]


def stage_from_spec(spec: Mapping[str, Any]) -> Stage:
    """Build the stage whose fields `dataclasses.asdict` gave; what is not there has its default.

    Raises:
        TypeError: for an unknown field.
    """
    plateau = spec.get("until_plateau")
    return Stage(**{**spec, "until_plateau": None if plateau is None else Plateau(**plateau)})


def frozen_sets(
    stages: Sequence[Stage], *, places: Mapping[str, Place], tasks: Sequence[str]
) -> list[set[str]]:
    """Check a plan against a network and resolve its selectors.

    Args:
        stages: the plan.
        places: the place of each parameter, by name.
        tasks: names of the tasks.

    Returns:
        The names of the frozen parameters of each stage.

    Raises:
        ConfigError: naming the stage and what is wrong with it.
    """
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise ConfigError(f"Expected stages with different names, but got {names}")
    for stage in stages[:-1]:
        if len(stage.ends) != 1:
            raise ConfigError(
                f"{stage}: expected exactly one of until_epoch, until_step and until_plateau, "
                f"since another stage follows; found {stage.ends or 'none'}"
            )
    if stages and stages[-1].ends:
        raise ConfigError(
            f"{stages[-1]}: the last stage ends with the training (trainer.max_epochs); "
            f"found {stages[-1].ends}"
        )
    if stages and stages[0].warmup_steps:
        raise ConfigError(
            f"{stages[0]}: expected no `warmup_steps` in the first stage, which thaws nothing; the "
            "warm-up of the run is model.warmup_fraction"
        )
    for kind in ("until_epoch", "until_step"):
        _check_rising(stages, kind)
    for stage in stages:
        _check_weights(stage, tasks)
    return [_frozen(stage, places) for stage in stages]


def starved(stages: Sequence[Stage], *, steps_an_epoch: int, total_steps: float) -> list[Stage]:
    """The stages that begin only when the training has ended.

    Args:
        stages: the plan.
        steps_an_epoch: optimizer steps of an epoch.
        total_steps: optimizer steps of the whole run.

    Raises:
        ConfigError: for a stage whose end, in steps, is not behind that of a stage before it.
    """
    late: list[Stage] = []
    begin, former = 0, stages[0]
    for stage, following in itertools.pairwise(stages):
        end = stage.until_step or (stage.until_epoch or 0) * steps_an_epoch
        if not end:
            continue  # a plateau may come at any time
        if end <= begin:
            raise ConfigError(
                f"{stage}: ends at step {end}, not behind step {begin}, where {former} ends; an "
                f"epoch has {steps_an_epoch} steps"
            )
        begin, former = end, stage
        if end >= total_steps:
            late.append(following)
    return late


def relative_cost(frozen: set[str], places: Mapping[str, Place]) -> float:
    """Expected cost of a training step, over that of full fine-tuning.

    Counted in forward passes of a layer: one for each layer's forward pass, one for the gradient of
    each layer's input down to the lowest trainable part, and one for the gradient of the weights of
    each trainable layer. Embeddings, projection and heads count nothing.
    """
    layers = depth_of_backbone(places)
    trainable = {place.depth for name, place in places.items() if name not in frozen}
    lowest = max((depth for depth in trainable if depth > 0), default=0)
    inputs = min(lowest, layers)
    weights = sum(1 for depth in range(1, layers + 1) if depth in trainable)
    return (layers + inputs + weights) / (3 * layers)


def hole(frozen: set[str], places: Mapping[str, Place]) -> str | None:
    """The highest trainable part of the backbone below one that is wholly frozen, if any.

    Backward then runs through the frozen part as well, which costs time for nothing saved.
    """
    backbone = sorted({place.depth: place for place in places.values() if place.depth > 0}.items())
    blocked = False
    for depth, place in backbone:
        trains = any(p.depth == depth and name not in frozen for name, p in places.items())
        if trains and blocked:
            return place.part
        blocked = blocked or not trains
    return None


def frozen_prefix(frozen: set[str], places: Mapping[str, Place]) -> int | None:
    """How many of the lowest layers are wholly frozen, without a gap and with the embeddings.

    0 where of these only the embeddings are, None where they train.
    """
    trainable = [place.depth for name, place in places.items() if name not in frozen]
    layers = depth_of_backbone(places) - max(trainable, default=0)
    return layers if layers >= 0 else None


def _frozen(stage: Stage, places: Mapping[str, Place]) -> set[str]:
    try:
        return select(stage.freeze, places)
    except ConfigError as error:
        raise ConfigError(f"{stage}: {error}") from error


def _check_rising(stages: Sequence[Stage], kind: str) -> None:
    last: Stage | None = None
    for stage in stages:
        if getattr(stage, kind) is None:
            continue
        if last is not None and getattr(stage, kind) <= getattr(last, kind):
            raise ConfigError(
                f"{stage}: expected `{kind}` above {getattr(last, kind)}, where {last} ends; "
                f"found {getattr(stage, kind)}"
            )
        last = stage


def _check_weights(stage: Stage, tasks: Sequence[str]) -> None:
    unknown = sorted(set(stage.loss_weights) - set(tasks))
    if unknown:
        raise ConfigError(
            f"{stage}: expected `loss_weights` for tasks out of {list(tasks)}; found {unknown}"
        )
    if set(stage.loss_weights) == set(tasks) and not any(stage.loss_weights.values()):
        raise ConfigError(
            f"{stage}: all tasks have a loss weight of 0, so nothing would be learned"
        )
