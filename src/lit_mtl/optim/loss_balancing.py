"""From the losses of single rows to the one number that is minimised.

Shapes: R rows, N tasks.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_mtl.errors import ConfigError

Balancing = Literal["static", "uncertainty", "upgrad"]

_MOST_LOG_VARIANCE = 4.0
"""Bound of the log-variances: weights of exp(-4) to exp(4), also where a task is learned by heart."""


def check_balancing(value: str) -> Balancing:
    """The value, if it is one of the ways to weigh.

    Raises:
        ConfigError: naming those that there are.
    """
    for known in get_args(Balancing):
        if value == known:
            return known  # type: ignore[no-any-return]
    raise ConfigError(
        f"Expected argument `loss_balancing` to be {' or '.join(get_args(Balancing))}, "
        f"but got {value!r}"
    )


def labelled_mean(row_loss: Tensor, *, count: Tensor) -> Tensor:
    """Mean loss over labelled rows.

    A plain mean would weigh a row by how many others happen to be labelled on its own device. So
    the divisor is given: the labelled rows of the batch or, on several devices, their mean over
    the devices, because DDP averages the gradients.

    Args:
        row_loss: losses of the labelled rows, (R,); none is fine.
        count: the divisor; 0 gives a loss of 0 that still reaches every parameter of the head.
    """
    return row_loss.sum() / count.clamp(min=1e-8)


def weighted_sum(losses: Mapping[str, Tensor], *, weights: Mapping[str, float]) -> Tensor:
    """Sum of the tasks' losses under static weights; a task of weight 0 gives a gradient of zero."""
    total = sum(losses[name] * weights[name] for name in losses)
    assert isinstance(total, Tensor), "there is at least one task"
    return total


def refuse_idle(weights: Mapping[str, float], *, where: str = "") -> None:
    """Refuse static weights of 0 for all tasks, with which a training would run and learn nothing.

    Args:
        weights: by task.
        where: begin of the message.

    Raises:
        ConfigError: naming the tasks.
    """
    if not any(weights.values()):
        raise ConfigError(
            f"{where}the losses of all tasks ({', '.join(weights)}) have a weight of 0, so nothing would "
            "be learned. Give one of them a `weight` above 0, or one in a stage's `loss_weights`"
        )


class UncertaintyWeights(nn.Module):
    """One learned log-variance s a task, from which the weight of its loss is exp(-s).

    The training minimises, over the network and all s, the sum over the tasks of

        weight * (exp(-s) * loss + 2 * log(1 + exp(s)))

    Kendall, Gal & Cipolla (2018, Multi-task learning using uncertainty to weigh losses) derive the first
    term from likelihoods, with a penalty of s. This penalty is that of Liebel & Koerner (2018, Auxiliary
    tasks in multi-task learning; twice their sum, so that s = 0 is the static weight). It was chosen
    because it is never negative, and because the weight of a loss near 0 grows with its inverse root
    and not with its inverse, so that a task that is learned by heart takes over less. For a loss that
    does not change, the best weight is 4 / (loss + sqrt(loss^2 + 8 * loss)): 1 for a loss of 1.

    The parameters belong to the training and not to the model: `state_dict` is empty, and `variances`
    is what a checkpoint keeps.

    Args:
        names: the tasks that are weighed; their order does not matter. Others keep their weight.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = sorted(names)
        self.log_variances = nn.Parameter(torch.zeros(len(self.names)))

    def forward(
        self,
        losses: Mapping[str, Tensor],
        *,
        weights: Mapping[str, float],
        counts: Mapping[str, Tensor],
    ) -> Tensor:
        """The number that is minimised.

        Args:
            losses: each task's loss.
            weights: static weights; a task of weight 0 teaches its log-variance nothing.
            counts: labelled rows of each task over all devices, in any unit: without one, a task's
                penalty does not count, or its weight would grow for want of rows.
        """
        with torch.no_grad():  # a projection: a gradient at the bound still leads back from it
            self.log_variances.clamp_(-_MOST_LOG_VARIANCE, _MOST_LOG_VARIANCE)
        penalties = 2 * functional.softplus(self.log_variances)
        terms = dict(losses)
        for (name, factor), penalty in zip(self.factors().items(), penalties, strict=True):
            terms[name] = factor * losses[name] + (counts[name] > 0) * penalty
        return weighted_sum(terms, weights=weights)

    def factors(self) -> dict[str, Tensor]:
        """What the static weight of each task is multiplied by."""
        return dict(zip(self.names, (-self.log_variances).exp(), strict=True))

    def variances(self) -> dict[str, Tensor]:
        """The log-variances by task, for `restore`."""
        return dict(zip(self.names, self.log_variances.detach().clone(), strict=True))

    @torch.no_grad()
    def restore(self, variances: Mapping[str, Tensor]) -> None:
        """Go on with the log-variances of a checkpoint."""
        self.log_variances.copy_(torch.stack([variances[name] for name in self.names]))

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: weights that are exported, averaged or measured are those of the model."""

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""
