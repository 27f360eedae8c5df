"""Turns the tasks' gradients so that a step for one does no harm to another.

UPGrad (Quinton & Rey 2024, Jacobian descent for multi-objective optimization), by TorchJD: each task's
gradient is projected onto the cone of directions that harm no task to first order, and the sum of the
projections is the step. It is a sum of the tasks' gradients under other weights, which follow from their
inner products alone.

Shapes: N tasks, P parameters.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lit_mtl.errors import ConfigError


class UPGrad:
    """Weights of the tasks' gradients in what they share; the heads learn as without it.

    The inner products are those of the gradients by the uppermost shared parameters that learn, usually
    the projection. Those by all shared parameters would take a backward pass a task. GradNorm (Chen et
    al. 2018) looks at the same layer for the same reason.

    Raises:
        ConfigError: if TorchJD is not installed.
    """

    def __init__(self) -> None:
        try:
            from torchjd.aggregation import UPGradWeighting

            UPGradWeighting()
        except ImportError as error:
            raise ConfigError(
                "`model.loss_balancing: upgrad` needs TorchJD: pip install 'lit_mtl[torchjd]' "
                f"({error})"
            ) from error
        self._weighting = UPGradWeighting

    def __call__(
        self,
        losses: Mapping[str, Tensor],
        *,
        weights: Mapping[str, float],
        embedding: Tensor,
        shared: Sequence[nn.Parameter],
        mean: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """What is added to the weighted sum of the losses, and the weights that are then in force.

        Args:
            losses: each task's loss, whose graph is kept.
            weights: static weights; a task of weight 0 is let alone.
            embedding: sentence embeddings, (B, D), through which alone the losses reach what is shared.
            shared: the parameters by which gradients are compared; none where nothing shared learns.
            mean: of a tensor over all devices.

        Returns:
            A term of the value 0, whose gradient changes that of the embeddings from the static weights'
            sum to the new one's; and the factor of each task's gradient in what is shared.
        """
        factors: dict[str, Tensor | float] = dict(weights)
        names = [name for name, weight in weights.items() if weight]
        if not shared or len(names) < 2:
            return embedding.new_zeros(()), factors
        found = [
            torch.autograd.grad(losses[name], [embedding, *shared], retain_graph=True)
            for name in names
        ]
        rows = [torch.cat([_dense(part).flatten() for part in parts]) for _, *parts in found]
        gradients = mean(torch.stack(rows).detach().float()).double()
        static = gradients.new_tensor([weights[name] for name in names])
        new = self._turned(gradients, static)
        if new is None:
            return embedding.new_zeros(()), factors
        factors.update(zip(names, new, strict=True))
        change = torch.stack(
            [
                gradient * factor.to(gradient.dtype)
                for (gradient, *_), factor in zip(found, new - static, strict=True)
            ]
        ).sum(dim=0)
        term = (embedding * change.detach()).sum()
        return term - term.detach(), factors

    def _turned(self, gradients: Tensor, static: Tensor) -> Tensor | None:
        """The weights, (N,), that harm no task, from gradients (N, P) and static weights (N,).

        None where there is nothing to weigh, and in a run that diverges, which is told elsewhere.

        TorchJD adds to all inner products what is small beside the largest one. The directions that harm
        no task do not depend on the lengths, so it is given gradients of length 1; otherwise it would
        take a task with small ones for none.
        """
        length = gradients.norm(dim=1)
        some = length > 0
        if some.sum() < 2 or not length.isfinite().all():
            return None
        unit = gradients[some] / length[some, None]
        preference = static[some] * length[some]
        size = preference.max()
        # of size 1 in all: the trace of these products is the number of tasks
        found = self._weighting(preference / size)(unit @ unit.T / len(unit))
        new = static.clone()
        new[some] = found * size / length[some]
        return new


def _dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient
