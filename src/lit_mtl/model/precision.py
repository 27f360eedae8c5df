"""Which part of the network keeps its own precision under automatic mixed precision."""

from contextlib import AbstractContextManager, nullcontext

import torch


def own_precision(device: torch.device) -> AbstractContextManager[object]:
    """A block whose modules compute in the type of their weights, whatever `autocast` is around it.

    Outputs in bfloat16 have eight bits: scores would lie on a grid of 0.4 % and probabilities would
    tie. What stands on top of the backbone costs next to nothing, so it is computed in full.

    Args:
        device: of the tensors in the block.
    """
    if not torch.is_autocast_enabled(device.type):
        return nullcontext()  # also keeps the block out of exported graphs
    return torch.autocast(device.type, enabled=False)
