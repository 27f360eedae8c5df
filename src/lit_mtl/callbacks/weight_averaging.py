"""An exponential moving average of the weights, which is what is validated, kept and exported.

It begins with the weights after the first step and takes a share of `1 - decay` of the new ones in each
step (Polyak & Juditsky 1992; as in torch's `swa_utils`). Lightning 2.6.6 has the callback; what
differs here: the average is made when the training begins, of the network alone and on its device, and
is gone when it ends, so that nothing is exchanged in a validation or test outside of it.
"""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lit_mtl.callbacks.staged_freezing import network_of
from lit_mtl.data.prefix_store import PrefixStore
from lit_mtl.errors import ConfigError
from lit_mtl.module import MultiTaskModule

_NETWORK = "_network"
"""Under which name a MultiTaskModule, and so a checkpoint, has the network."""


class AveragedWeights(WeightAveraging):
    """Validates and keeps averaged weights; the training itself goes on with its own.

    A checkpoint's `state_dict` holds the average. One to continue from holds the training's own
    weights as well, under `current_model_state`.

    Args:
        decay: share of the average that stays in a step, in [0, 1). It reaches back over about
            `1 / (1 - decay)` steps, which should be few of all. 0: no average.
    """

    def __init__(self, decay: float = 0.0) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"Expected argument `decay` to be in [0, 1), but got {decay}")
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.decay = decay
        self._loaded: dict[str, Tensor] = {}
        self._hidden: PrefixStore | None = None

    @property
    def weights(self) -> dict[str, Tensor]:
        """The average by the names that a checkpoint has; empty outside of a training or without one."""
        return {} if self._average_model is None else self._average_model.module.state_dict()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget a former fit; the weights to begin with are not there yet."""
        if stage == "fit":
            if self.decay:
                _refuse_weights_only(trainer)
            self._latest_update_step = 0
            self._loaded = {}
            self._hidden = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the average, or go on with that of a checkpoint."""
        if not self.decay:
            return
        self._average_model = AveragedModel(
            nn.ModuleDict({_NETWORK: network_of(pl_module)}),
            device=trainer.strategy.root_device,
            use_buffers=self._use_buffers,
            **self._kwargs,
        )
        if self._loaded:
            self._average_model.load_state_dict(self._loaded)
            self._loaded = {}

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After every optimizer step."""
        return self.decay > 0 and step_idx is not None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average; what is cached of frozen layers may not be that of its own."""
        if self._average_model is None:
            return
        if self._lags(pl_module):
            self._hidden = _cached(pl_module).pop("val", None)
        self._swap_models(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing yet: callbacks before this one run the network in `on_validation_end`."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the training's own weights."""
        if self._average_model is None:
            return
        self._swap_models(pl_module)
        if self._hidden is not None:
            _cached(pl_module)["val"] = self._hidden
            self._hidden = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the network."""
        if self._average_model is not None:
            super().on_train_end(trainer, pl_module)
            self._average_model = None

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Let go of the average; what is validated afterwards is what it is asked for."""
        self._average_model = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the average in the first place, and the training's own weights beside it."""
        if self._average_model is not None:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take both over, where a training goes on."""
        if trainer.state.fn != TrainerFn.FITTING or "averaging_state" not in checkpoint:
            return
        average = {f"module.{name}": value for name, value in checkpoint["state_dict"].items()}
        self._loaded = average | checkpoint["averaging_state"]
        own = checkpoint["current_model_state"]
        network_of(pl_module).load_state_dict(
            {name.removeprefix(f"{_NETWORK}."): value for name, value in own.items()}
        )

    def _swap_models(self, pl_module: Any) -> None:
        """Of the network alone: the original pairs by position, and the module may have more."""
        super()._swap_models(network_of(pl_module))  # type: ignore[arg-type]

    def _copy_average_to_current(self, pl_module: Any) -> None:
        """The same."""
        super()._copy_average_to_current(network_of(pl_module))  # type: ignore[arg-type]

    def _lags(self, pl_module: LightningModule) -> bool:
        """Whether frozen weights are not what the average has of them: they have moved before."""
        assert self._average_model is not None
        own_ones = network_of(pl_module).parameters()
        pairs = zip(own_ones, self._average_model.parameters(), strict=True)
        return any(not own.requires_grad and not torch.equal(own, mean) for own, mean in pairs)


def _refuse_weights_only(trainer: Trainer) -> None:
    """Lightning shows no callback a checkpoint of weights alone, so the average cannot be put in it.

    Raises:
        ConfigError: naming Lightning's callback.
    """
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.save_weights_only:
            raise ConfigError(
                "Expected a ModelCheckpoint without `save_weights_only` beside `averaging.decay`: it would "
                "keep the training's own weights, and not the average that is validated"
            )


def _cached(pl_module: LightningModule) -> dict[Any, PrefixStore]:
    assert isinstance(pl_module, MultiTaskModule), "the callback belongs to a MultiTaskModule"
    return pl_module.cached_prefix
