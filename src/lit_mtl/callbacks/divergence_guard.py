"""Stops a run whose gradients are not finite, before they reach the weights."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from lit_mtl.errors import DivergedError


class DivergenceGuard(Callback):
    """Looks at the norm of all gradients before each update.

    A loss that is not finite shows there as well. Where gradients are scaled, as in 16-mixed, they may
    overflow until that scale, which each of them halves, is down to 1. Under DDP gradients are averages over the
    processes, so all of them see it at the same step. (Lightning itself goes on, and ends with
    exit code 0 and weights that are not numbers.)
    """

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Raise before the update.

        Raises:
            DivergedError: naming the parameters; nothing was changed by this step.
        """
        # names take longer than the step, where most of the network is frozen and cached
        parameters = [part for group in optimizer.param_groups for part in group["params"]]
        gradients = [part.grad for part in parameters if part.grad is not None]
        if torch.isfinite(get_total_norm(gradients, foreach=True)):
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and scaler.get_scale() > 1:
            return  # 16-bit floats overflow now and then: the scaler passes over, and scales by less
        bad = [
            name
            for name, parameter in pl_module.named_parameters()
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ]
        found = f"{bad[0]} and {len(bad) - 1} more parameters" if bad else "their norm overflows"
        raise DivergedError(
            f"step {trainer.global_step} (epoch {trainer.current_epoch + 1}): the gradients are not "
            f"finite ({found}). The weights were not updated with them. Try a lower `model.lr`, or "
            "`trainer.gradient_clip_val: 1`"
        )
