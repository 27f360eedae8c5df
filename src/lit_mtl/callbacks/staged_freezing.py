"""Which parameters may move, when, and how their rates climb: the only owner of `requires_grad`.

The optimizer holds every parameter from the start and its groups never change: AdamW passes over
parameters without a gradient. Only flags change, so a stage can be applied again and again (resume
does), and a part can be frozen a second time. Lightning's own `BackboneFinetuning` freezes before
DDP wraps the model, whose reducer then never learns of what is thawed later, and ranks drift apart
(Lightning #20340); here the model is wrapped anew when the trainable set changes.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR

from lit_mtl.errors import ConfigError
from lit_mtl.log_moments import logs_now
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.optim.freezing_plan import (
    Plateau,
    Stage,
    frozen_prefix,
    frozen_sets,
    hole,
    stage_from_spec,
    starved,
)
from lit_mtl.optim.loss_balancing import UncertaintyWeights, refuse_idle
from lit_mtl.optim.schedules import GroupCourse, courses_of


class StagedFreezing(Callback):
    """Runs a plan of stages.

    Args:
        stages: the stages in their order; none freezes nothing.
        eval_mode: whether wholly frozen modules run in eval mode, without dropout.
    """

    def __init__(self, stages: Sequence[Stage] = (), eval_mode: bool = True) -> None:
        self.stages = list(stages)
        self.eval_mode = eval_mode
        self.index = 0
        self._frozen: list[set[str]] = []
        self._prefixes: list[int | None] = []
        self._resting: list[nn.Module] = []
        self._trainable = 0
        self._checkpoint_plan: list[dict[str, Any]] | None = None
        self._best: float | None = None
        self._bad_validations = 0
        self._plateau_reached = False

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.stages[self.index]

    @property
    def frozen_layers(self) -> int | None:
        """Layers of the prefix that is frozen in the current stage; see `frozen_prefix`."""
        return self._prefixes[self.index]

    def last_step(self, trainer: Trainer) -> float:
        """The step before which that prefix becomes another one at the latest, or training ends."""
        index = self.index
        while self._prefixes[index + 1 : index + 2] == [self.frozen_layers]:
            index += 1
        total, stage = trainer.estimated_stepping_batches, self.stages[index]
        if stage.until_epoch is not None:
            return min(stage.until_epoch * steps_an_epoch(trainer), total)
        return total if stage.until_step is None else min(stage.until_step, total)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin with the first stage, also in a second fit; a checkpoint is read after this."""
        if stage == TrainerFn.FITTING:
            self.index, self._checkpoint_plan = 0, None
            self._best, self._bad_validations, self._plateau_reached = None, 0, False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the plan against the checkpoint and the network, before the first batch.

        Raises:
            ConfigError: if the checkpoint was made with another plan, the plan does not fit the
                network, or the strategy is not supported.
        """
        if self._checkpoint_plan is not None and not self._is_plan(self._checkpoint_plan):
            raise ConfigError(
                "The checkpoint was made with other settings: freezing.stages: "
                f"{self._checkpoint_plan} there, {self._plan()} here. Continue with the same settings, "
                "or start a new run (--ckpt_path never)"
            )
        if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
            # FSDP2 among them: its shards would be saved as if they were the whole
            raise ConfigError(
                f"Training is shown to be right on one device and under DDP; the strategy "
                f"{type(trainer.strategy).__name__} is not supported"
            )
        if not self.stages:
            return
        network = network_of(pl_module)
        self._frozen = checked_sets(self.stages, network)
        places = network.places()
        self._prefixes = [frozen_prefix(frozen, places) for frozen in self._frozen]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply the current stage: the first one, or that of the checkpoint.

        Raises:
            ConfigError: if a stage would end before it begins, now that an epoch's length is known; if it
                waits for a validation and there is none; or if nothing learns in it, now that it is
                known whether there is more than the tasks' losses.
        """
        if not self.stages:
            network_of(pl_module).loss_weights = _weights_in(None, network_of(pl_module))
            _tell_frozen(network_of(pl_module))
            return
        waiting = [stage for stage in self.stages if stage.until_plateau is not None]
        if waiting and not trainer.limit_val_batches:
            raise ConfigError(
                f"{waiting[0]}: expected validations for `until_plateau`, but `trainer.limit_val_batches` is 0"
            )
        total = trainer.estimated_stepping_batches
        check_ends(self.stages, steps_an_epoch=steps_an_epoch(trainer), total_steps=total)
        if not getattr(pl_module, "regularizers", None):
            refuse_idle_stages(self.stages, network_of(pl_module))
        self._apply(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Go on to the next stage where the current one has ended, and log where we are."""
        if not self.stages:
            return
        # a validation, and so a plateau, may fall into the batches of one optimizer step
        if batch_idx % trainer.accumulate_grad_batches == 0:
            while self._has_ended(trainer):
                self._advance(trainer, pl_module)
        self._rest()
        if logs_now(trainer, batch_idx):
            pl_module.log("stage/index", float(self.index))
            pl_module.log("stage/trainable_parameters", float(self._trainable))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch the metric of a stage that ends on a plateau."""
        if not self.stages or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        plateau = self.stage.until_plateau
        if plateau is None:
            return
        value = trainer.callback_metrics.get(plateau.monitor)
        if value is None:
            raise ConfigError(
                f"{self.stage}: expected a logged metric as `monitor`, but got "
                f"{plateau.monitor!r}; there are {', '.join(sorted(trainer.callback_metrics))}"
            )
        # one decision for all processes, whose values may differ: of `train/loss` each has its own
        self._watch(plateau, trainer.strategy.broadcast(float(value)))

    def state_dict(self) -> dict[str, Any]:
        """Where in the plan the run is, in plain values."""
        return {
            "plan": self._plan(),
            "index": self.index,
            "best": self._best,
            "bad_validations": self._bad_validations,
            "plateau_reached": self._plateau_reached,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint was; whether its plan is this one matters only to a fit."""
        self._checkpoint_plan = state_dict["plan"]
        self.index = state_dict["index"]
        self._best = state_dict["best"]
        self._bad_validations = state_dict["bad_validations"]
        self._plateau_reached = state_dict["plateau_reached"]

    def _plan(self) -> list[dict[str, Any]]:
        return [asdict(stage) for stage in self.stages]

    def _is_plan(self, plan: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a checkpoint's plan is this one; the version that wrote it may have known fewer fields."""
        try:
            return [stage_from_spec(stage) for stage in plan] == list(self.stages)
        except TypeError:
            return False  # it knew more

    def _has_ended(self, trainer: Trainer) -> bool:
        stage = self.stage
        return (
            (stage.until_epoch is not None and trainer.current_epoch >= stage.until_epoch)
            or (stage.until_step is not None and trainer.global_step >= stage.until_step)
            or (stage.until_plateau is not None and self._plateau_reached)
        )

    def _watch(self, plateau: Plateau, value: float) -> None:
        sign = 1.0 if plateau.mode == "max" else -1.0
        improves = self._best is None or sign * (value - self._best) > plateau.min_delta
        if improves and not math.isnan(value):
            self._best, self._bad_validations = value, 0
        else:
            self._bad_validations += 1
        self._plateau_reached = self._bad_validations >= plateau.patience

    def _advance(self, trainer: Trainer, pl_module: LightningModule) -> None:
        thawed = self._frozen[self.index] - self._frozen[self.index + 1]
        self.index += 1
        self._best, self._bad_validations, self._plateau_reached = None, 0, False
        self._forget_moments(trainer, pl_module, thawed)
        self._warm_up(trainer, thawed)
        self._apply(trainer, pl_module)

    def _apply(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make flags, modes, loss weights, rates and the DDP wrapper those of the stage."""
        network, frozen = network_of(pl_module), self._frozen[self.index]
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in frozen)
            if name in frozen:
                parameter.grad = None  # a stale gradient would still be stepped with
        network.train()
        self._resting = _wholly_frozen(network, frozen) if self.eval_mode else []
        self._rest()
        network.loss_weights = _weights_in(self.stage, network)
        for group, course in _courses(trainer):
            # 0 where all of it rests, so that the logged rates are those at which something learns
            rests = frozen.issuperset(group["param_names"])
            course.scale = 0.0 if rests else self.stage.lr_scale
        _refresh_rates(trainer)
        self._trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
        _let_learn(pl_module, self._trainable > 0)
        _rewrap(trainer)
        rank_zero_info(
            f"{self.stage}: {self._trainable:,} trainable parameters from step {trainer.global_step}"
        )

    def _rest(self) -> None:
        """Put frozen modules in eval mode, whoever has called `train()` since."""
        for module in self._resting:
            if module.training:
                module.eval()

    def _forget_moments(
        self, trainer: Trainer, pl_module: LightningModule, thawed: Iterable[str]
    ) -> None:
        """Drop Adam's moments of a part that trained before it was frozen: they are stale."""
        parameters = dict(network_of(pl_module).named_parameters())
        for name in thawed:
            trainer.optimizers[0].state.pop(parameters[name], None)

    def _warm_up(self, trainer: Trainer, thawed: set[str]) -> None:
        for group, course in _courses(trainer):
            if thawed & set(group["param_names"]):
                course.thaw_step = _scheduler(trainer).last_epoch
                course.warmup_steps = self.stage.warmup_steps


def checked_sets(stages: Sequence[Stage], network: MultiTaskModel) -> list[set[str]]:
    """Check a plan against a network, and warn of a stage that takes time for nothing.

    Args:
        stages: the plan.
        network: what it freezes.

    Returns:
        The names of the frozen parameters of each stage.

    Raises:
        ConfigError: naming the stage and what is wrong with it.
    """
    _refuse_reentrant_checkpointing(network)
    places = network.places()
    sets = frozen_sets(stages, places=places, tasks=list(network.tasks))
    for stage, frozen in zip(stages, sets, strict=True):
        if part := hole(frozen, places):
            rank_zero_warn(
                f"{stage}: {part} trains below a frozen part of the backbone, so backward runs "
                "through that as well. Freeze backbone.embeddings and the layers from the "
                "bottom up to save its time"
            )
    return sets


def check_ends(stages: Sequence[Stage], *, steps_an_epoch: int, total_steps: float) -> None:
    """Check a plan against the length of a training, and warn of stages that it does not reach.

    Args:
        stages: the plan, of a stage at least.
        steps_an_epoch: optimizer steps of an epoch.
        total_steps: optimizer steps of the whole run.

    Raises:
        ConfigError: if a stage would end before it begins.
    """
    late = starved(stages, steps_an_epoch=steps_an_epoch, total_steps=total_steps)
    if late:
        rank_zero_warn(
            f"The training ends at step {total_steps:g}, before these stages begin: "
            f"{', '.join(repr(stage.name) for stage in late)}"
        )


def refuse_idle_stages(stages: Sequence[Stage], network: MultiTaskModel) -> None:
    """Refuse a stage in which no task's loss has a weight; for a training without other losses.

    Raises:
        ConfigError: naming the stage.
    """
    for stage in stages:
        refuse_idle(_weights_in(stage, network), where=f"{stage}: ")


def _weights_in(stage: Stage | None, network: MultiTaskModel) -> dict[str, float]:
    """The static weight of each task's loss in a stage, or without one."""
    own = {name: task.weight for name, task in network.tasks.items()}
    return own if stage is None else own | stage.loss_weights


def _tell_frozen(network: MultiTaskModel) -> None:
    """Say what a plan of a former fit, or somebody by hand, has frozen and no stage will thaw."""
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    if frozen := sum(size for size, trains in sizes if not trains):
        total = sum(size for size, _ in sizes)
        rank_zero_info(
            f"{frozen:,} of {total:,} parameters were frozen before this fit and stay so, since it has "
            "no stages"
        )


def steps_an_epoch(trainer: Trainer) -> int:
    """Optimizer steps of an epoch."""
    return -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)


def network_of(pl_module: LightningModule) -> MultiTaskModel:
    """The model in plain torch of a module that has one."""
    network = getattr(pl_module, "network", None)
    assert isinstance(network, MultiTaskModel), "the callback belongs to a MultiTaskModule"
    return network


def _let_learn(pl_module: LightningModule, learns: bool) -> None:
    """Learned weights of the losses rest while the whole network does, and learn otherwise."""
    uncertainty = getattr(pl_module, "uncertainty", None)
    if isinstance(uncertainty, UncertaintyWeights):
        uncertainty.requires_grad_(learns)
        if not learns:
            uncertainty.zero_grad()


def _refuse_reentrant_checkpointing(network: nn.Module) -> None:
    """Above a frozen prefix it would silently give the layers no gradient."""
    for module in network.modules():
        function = getattr(module, "_gradient_checkpointing_func", None)
        if isinstance(function, partial) and function.keywords.get("use_reentrant"):
            raise ConfigError(
                "Activation checkpointing has to be non-reentrant with a freezing plan: "
                "activation_checkpointing_kwargs={'use_reentrant': False}"
            )


def _scheduler(trainer: Trainer) -> LambdaLR:
    scheduler = trainer.lr_scheduler_configs[0].scheduler
    assert isinstance(scheduler, LambdaLR)
    return scheduler


def _courses(trainer: Trainer) -> Iterator[tuple[dict[str, Any], GroupCourse]]:
    """The optimizer's groups, each with the course of its rate."""
    scheduler = _scheduler(trainer)
    return zip(scheduler.optimizer.param_groups, courses_of(scheduler), strict=True)


def _refresh_rates(trainer: Trainer) -> None:
    """Write the rates of the coming step at once; the scheduler itself acts only after it."""
    scheduler = _scheduler(trainer)
    for (group, course), base in zip(_courses(trainer), scheduler.base_lrs, strict=True):
        group["lr"] = base * course(scheduler.last_epoch)


def _rewrap(trainer: Trainer) -> None:
    """Wrap the model in DDP anew, so that its reducer knows exactly what trains now.

    The reducer registers the parameters that require a gradient when it is built. This uses
    Lightning's private `_setup_model` and `_register_ddp_hooks`, pinned and tested with 2.6.6.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, DDPStrategy):
        return
    module = strategy.lightning_module
    assert module is not None
    strategy.model = module  # frees the old wrapper first, whose hooks go with it
    if any(parameter.requires_grad for parameter in module.parameters()):
        strategy.model = strategy._setup_model(module)
        assert isinstance(strategy.model, DistributedDataParallel)
        strategy._register_ddp_hooks()


def _wholly_frozen(network: MultiTaskModel, frozen: set[str]) -> list[nn.Module]:
    """The modules that have parameters, all of them frozen."""
    return [
        module
        for prefix, module in network.named_modules()
        if (names := [f"{prefix}.{name}".lstrip(".") for name, _ in module.named_parameters()])
        and frozen.issuperset(names)
    ]
