"""From the losses of single rows to the one number that is minimised.

Shapes: R rows.
"""

from collections.abc import Mapping

from torch import Tensor


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
