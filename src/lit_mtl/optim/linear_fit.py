"""The best linear layer on given vectors: ridge or logistic regression, whatever the loss is.

Shapes: R rows, D dimensions, O outputs.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import LBFGS

_MOST_STEPS = 500


class Linear(NamedTuple):
    """A linear layer that was fitted.

    Args:
        weight: (O, D).
        bias: (O,).
        loss: mean loss of the rows, without the penalty.
    """

    weight: Tensor
    bias: Tensor
    loss: float


def fit_linear(
    vectors: Tensor, row_loss: Callable[[Tensor], Tensor], *, outputs: int, l2: float
) -> Linear:
    """Minimise `mean row loss + l2 / 2 * v * |weight|^2` by L-BFGS, from a weight and bias of zero.

    `v` is the mean variance of a dimension of the vectors, so that `l2` means the same whatever their
    scale is; the bias is not penalised. With a squared error this is ridge regression, with a
    cross-entropy logistic regression; with an absolute error, which has kinks, the least is met only
    nearly. The vectors are centred meanwhile, which changes the problem's conditioning and not its
    solution.

    Args:
        vectors: (R, D), in float64; R at least 1.
        row_loss: from outputs (R, O) to a loss a row, (R,).
        outputs: how many of them, O.
        l2: weight of the penalty, above 0.
    """
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    penalty = l2 / 2 * centred.square().mean()
    weight = vectors.new_zeros(outputs, vectors.shape[1], requires_grad=True)
    bias = vectors.new_zeros(outputs, requires_grad=True)
    optimizer = LBFGS(
        [weight, bias],
        max_iter=_MOST_STEPS,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = row_loss(centred @ weight.T + bias).mean() + penalty * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    with torch.no_grad():
        loss = float(row_loss(centred @ weight.T + bias).mean())
        return Linear(weight.detach(), bias - weight @ mean, loss)
