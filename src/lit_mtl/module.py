"""The LightningModule: steps, logging, optimizer. The network itself is plain torch, in `model/`.

Shapes: B rows, T tokens, D embedding dimension.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch._functorch import config as functorch_config
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedTokenizerBase

from lit_mtl.artifact.warm_start import take_over, trained_in, verify_start
from lit_mtl.checkpoints import SPEC_KEY
from lit_mtl.data.batch import Batch
from lit_mtl.data.prefix_store import PrefixStore
from lit_mtl.data.splits import Split
from lit_mtl.errors import ConfigError
from lit_mtl.evaluation import SplitOutputs, TaskResult, logged_values, measure
from lit_mtl.log_moments import logs_now
from lit_mtl.model.multitask import Architecture, MultiTaskModel, Output
from lit_mtl.model.pooling import PoolingName
from lit_mtl.optim.loss_balancing import (
    Balancing,
    UncertaintyWeights,
    check_balancing,
    labelled_mean,
    refuse_idle,
    weighted_sum,
)
from lit_mtl.optim.param_groups import LOSS_WEIGHTS, Place, Rates, build_param_groups
from lit_mtl.optim.schedules import GroupCourse, Shape, WarmupDecay, courses_of
from lit_mtl.optim.upgrad import UPGrad
from lit_mtl.pretrained import (
    load_tokenizer,
    pack_tokenizer,
    trained_beside,
    unpack_tokenizer,
    weights_sum,
)
from lit_mtl.tasks.base import Task

SELECTION_KEY = "val/selection"
"""The key that selects the best checkpoint and stops early; see `evaluation.selection`."""

_BALANCING = "loss_balancing"
"""Key of a checkpoint under which it has the option, if it is not `static`."""

_UNCERTAINTY = "loss_log_variances"
"""Key of a checkpoint under which it has them, if the weights of the losses were learned."""


class Shared(NamedTuple):
    """What the tasks share in a training step, for callbacks: before backward with its graph.

    Args:
        embedding: sentence embeddings, (B, D).
        losses: each task's loss, without its weight; 0 where no row is labelled.
        counts: labelled rows of each task, as their mean over all devices.
    """

    embedding: Tensor
    losses: dict[str, Tensor]
    counts: dict[str, Tensor]

    def known(self) -> dict[str, Tensor]:
        """The losses to be shown: no number where no row is labelled. It does not ask the device."""
        return {
            name: torch.where(self.counts[name] > 0, loss.detach(), torch.nan)
            for name, loss in self.losses.items()
        }


class Regularizer(NamedTuple):
    """A term of the training loss that asks for no target.

    Args:
        weight: its factor.
        row_loss: from sentence embeddings (B, D) and row numbers (B,) to a loss a row, (B,).
    """

    weight: float
    row_loss: Callable[[Tensor, Tensor], Tensor]


class MultiTaskModule(LightningModule):
    """Trains one shared sentence encoder with a head for each task of the datamodule.

    The network is built when the tasks are known: by `configure_model` from the datamodule, by
    `build` from tasks that the caller has, or by `restore` from a checkpoint. `load_from_checkpoint`
    takes the network from there, but rates, schedule and balancing of a further training from its
    arguments.

    Args:
        backbone: hub name, local folder, or `minilm` for the packaged encoder.
        pretrained: False starts from random weights in the backbone's structure.
        warm_start: go on from a trained model, whose exported folder `backbone` names: its projection
            and its heads of the same names are taken over as well. See `take_over`.
        pooling: `mean`, `cls` or `max` of the token vectors.
        embedding_dim: size of the sentence embedding.
        normalize: whether embeddings are scaled to length 1.
        head_dropout: dropout on the embedding in front of each head, in [0, 1).
        lr: learning rate to which the others are relative; the top layer has `lr * layer_decay`.
        layer_decay: factor of the learning rate from one layer to the next one below, in (0, 1].
        projection_lr_multiplier: learning rate of the projection over `lr`.
        head_lr_multiplier: learning rate of the heads over `lr`.
        weight_decay: AdamW's decoupled weight decay; not for biases and norms.
        warmup_fraction: share of the optimizer steps in which the learning rate climbs, in [0, 1).
        schedule: course of the learning rate after it: `linear` or `cosine` to 0, or `constant`.
        compile_layers: whether the backbone's layers are compiled; on the CPU this takes a C++
            compiler. See `Backbone.compile_layers`.
        loss_balancing: `static`: the losses are summed with the tasks' own weights. `uncertainty`:
            with these times weights that the training finds; see `UncertaintyWeights`. `upgrad`: what
            is shared takes steps that harm no task; see `UPGrad`, which needs TorchJD.
    """

    def __init__(
        self,
        backbone: str = "bert-base-uncased",
        *,
        pretrained: bool = True,
        warm_start: bool = False,
        pooling: PoolingName = "mean",
        embedding_dim: int = 256,
        normalize: bool = False,
        head_dropout: float = 0.1,
        lr: float = 2e-5,
        layer_decay: float = 0.95,
        projection_lr_multiplier: float = 5.0,
        head_lr_multiplier: float = 10.0,
        weight_decay: float = 0.01,
        warmup_fraction: float = 0.1,
        schedule: Shape = "linear",
        compile_layers: bool = False,
        loss_balancing: Balancing = "static",
    ) -> None:
        super().__init__()
        self.backbone_name = backbone
        self.pretrained = pretrained
        self.warm_start = warm_start
        if warm_start and not pretrained:
            raise ConfigError(
                "Expected argument `pretrained` to be true with `warm_start`, but got false"
            )
        self.heads_taken_over: set[str] = set()
        # whether what `Trainer.validate` measures is no point of a training curve
        self.is_measured_apart = False
        self.architecture = Architecture(
            pooling=pooling,
            embedding_dim=embedding_dim,
            normalize=normalize,
            head_dropout=head_dropout,
        )
        self.rates = Rates(
            lr=lr,
            layer_decay=layer_decay,
            projection_lr_multiplier=projection_lr_multiplier,
            head_lr_multiplier=head_lr_multiplier,
            weight_decay=weight_decay,
        )
        self.warmup_fraction = warmup_fraction
        self.schedule: Shape = schedule
        self.compile_layers = compile_layers
        self.loss_balancing = check_balancing(loss_balancing)
        self.uncertainty: UncertaintyWeights | None = None
        self.upgrad = UPGrad() if self.loss_balancing == "upgrad" else None
        self.results: dict[str, dict[str, TaskResult]] = {}
        self.outputs: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}
        # what the frozen layers give for each row of a split, while the training may read it
        self.cached_prefix: dict[Split, PrefixStore] = {}
        self.regularizers: dict[str, Regularizer] = {}
        # of the checkpoint that was measured last, by name
        self.embedding_health: dict[str, float] = {}
        self.row_ids: dict[str, dict[str, Tensor]] = {}
        self.shared: Shared | None = None
        self._network: MultiTaskModel | None = None
        # of the folder that it began with
        self._backbone_sum: str | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._outputs: dict[str, SplitOutputs] = {}
        self._declared_rates: list[tuple[Any, ...]] = []

    @property
    def network(self) -> MultiTaskModel:
        """The model in plain torch.

        Raises:
            ConfigError: before it is built.
        """
        if self._network is None:
            raise ConfigError("The network is not built yet: its tasks come with the data")
        return self._network

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks by name."""
        return self.network.tasks

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer, which travels with the checkpoint."""
        if self._tokenizer is None:
            if self.warm_start:
                verify_start(self.backbone_name)
            self._tokenizer = load_tokenizer(self.backbone_name)
        return self._tokenizer

    def build(self, tasks: Mapping[str, Task]) -> None:
        """Build the network on its backbone.

        Args:
            tasks: the tasks by name, with labels resolved.
        """
        # first, so that damage is told by its file and not by what reads it
        trained = trained_in(self.backbone_name) if self.warm_start else None
        network = MultiTaskModel.from_backbone(
            self.backbone_name,
            tasks=tasks,
            architecture=self.architecture,
            pretrained=self.pretrained,
        )
        if trained is not None:
            taken = take_over(network, trained)
            self.heads_taken_over = set(taken.heads)
            rank_zero_info(f"{self.backbone_name}: {taken}")
        elif self.pretrained and (left := trained_beside(self.backbone_name)):
            rank_zero_info(
                f"{self.backbone_name}: the backbone alone is taken over, without {', '.join(left)}; "
                "projection and heads begin anew. `model.warm_start: true` goes on from a model of `export`"
            )
        if self.pretrained:
            self._backbone_sum = weights_sum(self.backbone_name)
        self._use(network)

    def restore(self, spec: Mapping[str, Any]) -> None:
        """Build the network that a checkpoint's entry describes, with neither hub nor backbone."""
        self._use(MultiTaskModel.from_spec(spec))
        self._backbone_sum = spec.get("backbone_sha256")
        config = self.network.encoder.backbone.config
        self._tokenizer = unpack_tokenizer(spec.get("tokenizer"), config)

    def _use(self, network: MultiTaskModel) -> None:
        self._network = network
        weighed = [name for name, task in network.tasks.items() if not task.learns_variance]
        if self.loss_balancing == "uncertainty" and weighed:
            self.uncertainty = UncertaintyWeights(weighed)
        if self.compile_layers:
            if self.upgrad is not None:  # which goes back through the topmost trained layer twice
                functorch_config.donated_buffer = False
            network.encoder.backbone.compile_layers()

    def configure_model(self) -> None:
        """Build the network for the datamodule's tasks, or check that an existing one fits them."""
        if self._trainer is None:
            return
        datamodule = getattr(self.trainer, "datamodule", None)
        tasks: dict[str, Task] = getattr(datamodule, "tasks", None) or {}
        if self._network is not None:
            self._check_tasks(tasks)
            # before weights are loaded, which would be rounded to another precision
            self.trainer.precision_plugin.convert_module(self._network)
            return
        launcher = self.trainer.strategy.launcher
        if self.trainer.training and isinstance(launcher, _MultiProcessingLauncher):
            raise ConfigError(
                "The strategy starts its processes from this one, which would keep nothing of a network "
                "that they build: train with `ddp`, or call `build` before `fit`"
            )
        if not tasks:
            raise ConfigError(
                "The tasks are not known: give the Trainer a SentimentDataModule with labelled "
                "data or a checkpoint, or call `build` first"
            )
        self.build(tasks)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Sentence embeddings (B, D) of ids (B, T) under a mask (B, T)."""
        embedding: Tensor = self.network(input_ids, attention_mask).sentence_embedding
        return embedding

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One forward pass for all heads; each task's loss on its labelled rows."""
        embedding, heads = self._outputs_of(batch, "train")
        counts = {name: self._mean_count(batch["labelled"][name]) for name in self.tasks}
        losses = {
            name: self._task_loss(name, heads[name], batch, count) for name, count in counts.items()
        }
        self.shared = Shared(embedding, losses, counts)
        loss, shared_weights = self._balanced(losses, counts, embedding)
        terms = {
            name: self._row_mean(term.row_loss(embedding, batch["row_id"]))
            for name, term in self.regularizers.items()
        }
        for name, value in terms.items():
            loss = loss + self.regularizers[name].weight * value
        if logs_now(self.trainer, batch_idx):
            self._log_step(batch, loss, self.shared.known(), terms, shared_weights)
        # with nothing to train there is nothing to go back through, but Lightning wants to
        return loss if loss.requires_grad else loss.detach().requires_grad_()

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step; past the gradient scaler where nothing trains, which would ask for a gradient."""
        scaled = getattr(self.trainer, "scaler", None) is not None
        if scaled and not any(parameter.requires_grad for parameter in self.parameters()):
            assert isinstance(optimizer, LightningOptimizer)
            optimizer.optimizer.step(closure=optimizer_closure)
            return
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def on_after_backward(self) -> None:
        """Let go of the step's graph."""
        assert self.shared is not None, "there was a step"
        embedding, losses, counts = self.shared
        detached = {name: loss.detach() for name, loss in losses.items()}
        self.shared = Shared(embedding.detach(), detached, counts)

    def on_validation_epoch_start(self) -> None:
        """Begin a new collection of outputs."""
        self._outputs = {name: SplitOutputs(task) for name, task in self.tasks.items()}

    def on_test_epoch_start(self) -> None:
        """Begin a new collection of outputs."""
        self.on_validation_epoch_start()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Collect the outputs of a batch, and give callbacks its sentence embeddings, (B, D)."""
        embedding, heads = self._outputs_of(batch, "val")
        for name, outputs in self._outputs.items():
            if name in batch["targets"]:
                target, labelled = batch["targets"][name], batch["labelled"][name]
                outputs.update(batch["row_id"], heads[name], target, labelled)
        return embedding

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the outputs of a batch."""
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Measure the validation split."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Measure the test split."""
        self._finish("test")

    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups, from the heads down; every parameter is in exactly one."""
        network = self.network
        groups = build_param_groups(network, places=network.places(), rates=self.rates)
        if self.uncertainty is None:
            return groups
        places = {name: Place(LOSS_WEIGHTS, -1) for name, _ in self.uncertainty.named_parameters()}
        return build_param_groups(self.uncertainty, places=places, rates=self.rates) + groups

    def weights_in_force(self) -> dict[str, Tensor | float]:
        """The factor of each task's loss now: the static weight, times the learned one if there is one."""
        factors = {} if self.uncertainty is None else self.uncertainty.factors()
        return {
            name: factors[name].detach() * weight if name in factors else weight
            for name, weight in self.network.loss_weights.items()
        }

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over all parameters with layer-wise rates, warm-up and decay at every step."""
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise ConfigError(
                "The schedule needs an end: set `trainer.max_epochs` or `trainer.max_steps`"
            )
        if total < 1 or self.trainer.limit_train_batches == 0:
            raise ConfigError(
                "There is nothing to train on: expected `trainer.max_steps` and "
                "`trainer.limit_train_batches` to leave a batch, but got "
                f"{self.trainer.max_steps} and {self.trainer.limit_train_batches}"
            )
        # one kernel for the whole step; it cannot clip under the gradient scaler of 16-bit floats
        scaled = getattr(self.trainer, "scaler", None) is not None
        optimizer = AdamW(self.param_groups(), fused=not scaled)
        if not scaled:
            # or Lightning would not clip in bfloat16 either, where nothing is scaled: Lightning #21435
            optimizer._step_supports_amp_scaling = False
        course = WarmupDecay(
            total_steps=int(total), warmup_fraction=self.warmup_fraction, shape=self.schedule
        )
        courses = [GroupCourse(course=asdict(course)) for _ in optimizer.param_groups]
        self._declared_rates = [
            (
                group["name"],
                group["param_names"],
                group["lr"],
                group["weight_decay"],
                asdict(course),
            )
            for group in optimizer.param_groups
        ]
        scheduler = LambdaLR(optimizer, list(courses))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds model and tokenizer: plain values and bytes."""
        checkpoint[SPEC_KEY] = {
            **self.network.spec(),
            "backbone": self.backbone_name,
            "pretrained": self.pretrained,
            "backbone_sha256": self._backbone_sum,
            "tokenizer": pack_tokenizer(self.tokenizer),
        }
        if self.loss_balancing != "static":
            checkpoint[_BALANCING] = self.loss_balancing
        if self.loss_balancing == "uncertainty":
            own = self.uncertainty
            checkpoint[_UNCERTAINTY] = {} if own is None else own.variances()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Rebuild the network, or refuse a checkpoint of another one.

        Raises:
            ConfigError: naming what differs.
        """
        spec = checkpoint.get(SPEC_KEY)
        if spec is None:
            raise ConfigError(f"Not a checkpoint of lit_mtl: it has no entry {SPEC_KEY!r}")
        fresh = self._network is None
        if fresh:
            self.restore(spec)
            self.backbone_name = spec.get("backbone", self.backbone_name)
            self.pretrained = spec.get("pretrained", self.pretrained)
            self.architecture = Architecture(**self.network.spec()["architecture"])
        elif self.trainer.training:
            _refuse_change(_BALANCING, checkpoint.get(_BALANCING, "static"), self.loss_balancing)
        if self.uncertainty is not None and _UNCERTAINTY in checkpoint:
            self.uncertainty.restore(checkpoint[_UNCERTAINTY])
        if fresh:
            return
        self.network.check_state(
            {
                name.removeprefix("_network."): value
                for name, value in checkpoint["state_dict"].items()
            }
        )
        own, held = self.network.spec(), MultiTaskModel.completed(spec)
        if self.trainer.training:
            # a restored network has the checkpoint's own; what was asked for must agree with it
            own |= {"architecture": asdict(self.architecture), "backbone": self.backbone_name}
        for key in sorted({"format", "architecture", "tasks", "backbone"} & set(own)):
            _refuse_change(key, held.get(key), own[key])

    def on_train_start(self) -> None:
        """Refuse losses that teach nothing, and other rates than the checkpoint's, which torch would restore.

        Raises:
            ConfigError: saying what is wrong, or naming what differs.
        """
        if not self.regularizers:
            refuse_idle(self.network.loss_weights)
        if not self._declared_rates:
            return  # a subclass has its own optimizer
        optimizer, scheduler = self.trainer.optimizers[0], self.lr_schedulers()
        assert isinstance(scheduler, LambdaLR)
        restored = [
            (group["name"], group["param_names"], base, group["weight_decay"], course.course)
            for group, base, course in zip(
                optimizer.param_groups, scheduler.base_lrs, courses_of(scheduler), strict=True
            )
        ]
        keys = ("group", "parameters", "learning rate", "weight decay", "schedule")
        for found, expected in zip(restored, self._declared_rates, strict=True):
            for key, old, new in zip(keys, found, expected, strict=True):
                _refuse_change(key, old, new)

    def _check_tasks(self, found: Mapping[str, Task]) -> None:
        """Refuse data whose targets this network's heads would misread or do not have.

        To train on, the whole declaration must be the same, the loss weight included.
        """
        for name, task in found.items():
            own = self.tasks.get(name)
            if own is None:
                raise ConfigError(
                    f"There are targets of a task {name!r}; the model was trained for "
                    f"{', '.join(self.tasks)}"
                )
            if not own.same_outputs(task) or (self.trainer.training and own != task):
                raise ConfigError(
                    f"The data's task {name!r} has {_unlike(task, own)}; the model was trained with "
                    f"{_unlike(own, task)}"
                )
        missing = sorted(set(self.tasks) - set(found))
        if found and missing and self.trainer.training:
            raise ConfigError(f"The model has the tasks {missing}, for which there is no data")

    def _outputs_of(self, batch: Batch, split: Split) -> Output:
        """Embeddings and outputs of the heads, by whichever layers have to run."""
        mask, cached = batch["attention_mask"], self.cached_prefix.get(split)
        if cached is None:
            output: Output = self.network(batch["input_ids"], mask)
            return output
        prefix = cached.rows(batch["row_id"])
        return self.network.from_prefix(prefix, mask, layers=cached.layers)

    def _task_loss(self, name: str, output: Tensor, batch: Batch, count: Tensor) -> Tensor:
        """Mean loss of a task's labelled rows, over all devices, whose mean count is given."""
        labelled = batch["labelled"][name]
        row_loss = self.tasks[name].row_loss(output[labelled], batch["targets"][name][labelled])
        return labelled_mean(row_loss, count=count)

    def _balanced(
        self, losses: Mapping[str, Tensor], counts: Mapping[str, Tensor], embedding: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """One number of the tasks' losses; and the weights of their gradients in what is shared, if other."""
        weights = self.network.loss_weights
        if self.uncertainty is not None:
            return self.uncertainty(losses, weights=weights, counts=counts), {}
        loss = weighted_sum(losses, weights=weights)
        if self.upgrad is None:
            return loss, {}
        term, shared_weights = self.upgrad(
            losses,
            weights=weights,
            embedding=embedding,
            shared=self.network.uppermost_shared(),
            mean=lambda value: self.trainer.strategy.reduce(value, reduce_op="mean"),
        )
        return loss + term, shared_weights

    def _row_mean(self, row_loss: Tensor) -> Tensor:
        """Mean of all rows' losses, over all devices."""
        return labelled_mean(row_loss, count=self._mean_count(torch.ones_like(row_loss)))

    def _mean_count(self, counted: Tensor) -> Tensor:
        """Rows that are counted, as their mean over all devices."""
        count = self.trainer.strategy.reduce(counted.sum().float(), reduce_op="mean")
        assert isinstance(count, Tensor)
        return count

    def _log_step(
        self,
        batch: Batch,
        loss: Tensor,
        losses: Mapping[str, Tensor],
        terms: Mapping[str, Tensor],
        shared_weights: Mapping[str, Tensor | float],
    ) -> None:
        rows = len(batch["row_id"])
        means = {
            "loss": loss,
            **{f"{name}/loss": value for name, value in losses.items()},
            **terms,
        }
        for name, value in means.items():
            # a process has its own rows' sum over the mean count: the mean of these is that of all rows
            self.log(f"train/{name}", value.detach(), batch_size=rows, sync_dist=True)
        if self.uncertainty is not None:
            for name, weight in self.weights_in_force().items():
                self.log(f"train/{name}/loss_weight", weight, batch_size=rows)
        for name, weight in shared_weights.items():
            self.log(f"train/{name}/shared_weight", weight, batch_size=rows)
        # on the processor, where it is known: a number would be sent to the device and waited for
        padding = torch.tensor(1 - batch["tokens"] / batch["input_ids"].numel(), device="cpu")
        self.log("train/padding", padding, batch_size=rows)

    def _finish(self, split: str) -> None:
        outputs = {name: part.gathered(self.device) for name, part in self._outputs.items()}
        results = {name: measure(self.tasks[name], *rows) for name, rows in outputs.items()}
        self.outputs[split], self.results[split] = outputs, results
        self.row_ids[split] = {name: part.row_ids for name, part in self._outputs.items()}
        values = logged_values(results, self.tasks)
        shown = {f"{name}/{task.primary_metric}" for name, task in self.tasks.items()}
        apart = self.is_measured_apart and self.trainer.state.fn == TrainerFn.VALIDATING
        logger = False if apart else None
        for key, value in values.items():
            # equal on all ranks already; sync_dist only says so to Lightning
            self.log(f"{split}/{key}", value, prog_bar=key in shown, logger=logger, sync_dist=True)


def _unlike(task: Task, other: Task) -> str:
    """What a task declares otherwise than another one."""
    others = other.spec()
    own = {key: value for key, value in task.spec().items() if others.get(key, ...) != value}
    return ", ".join(f"{key}={value!r}" for key, value in own.items())


def _refuse_change(key: str, old: object, new: object) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            _refuse_change(f"{key}.{name}", old.get(name), new.get(name))
    elif old != new:
        raise ConfigError(
            f"The checkpoint was made with another {key}: {old}; this run has {new}. Continue with "
            "the same settings, or start a new run"
        )
