"""How strongly each depth is pulled, and whether the tasks pull the same way.

Shapes: B rows of a batch, D embedding dimension.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.nn.utils import get_total_norm

MOST_TASKS = 8
"""Tasks whose gradients are compared, the first ones: 28 pairs."""


def depth_norms(groups: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Norm of the gradients of each depth, as they are; a depth without a gradient has none.

    Args:
        groups: of the optimizer, each with its `depth`; see `param_groups`.
    """
    found: dict[int, list[Tensor]] = {}
    for group in groups:
        gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
        if gradients:
            found.setdefault(group["depth"], []).extend(gradients)
    if not found:
        return {}
    norms = [get_total_norm(gradients, foreach=True) for gradients in found.values()]
    return dict(zip(found, torch.stack(norms).tolist(), strict=True))  # one transfer for all


def task_cosines(
    losses: Mapping[str, Tensor], embedding: Tensor, *, weights: Mapping[str, float]
) -> dict[tuple[str, str], float]:
    """Cosine between every two tasks' gradients of the weighted loss by the shared embedding.

    Below 0 a step that helps one task harms the other, to first order. All rows of the batch make
    one vector, so rows that only one of two tasks has labelled bring the cosine nearer to 0. The
    gradients go through the heads only and leave those of the parameters alone.

    Args:
        losses: each task's loss, whose graph is kept.
        embedding: sentence embeddings, (B, D).
        weights: factor of each task's loss.

    Returns:
        Cosine by pair of tasks; without tasks that have no gradient, or one of zero.
    """
    if not embedding.requires_grad:
        return {}
    gradients = {}
    for name in list(losses)[:MOST_TASKS]:
        (gradient,) = torch.autograd.grad(
            losses[name] * weights[name], embedding, retain_graph=True, allow_unused=True
        )
        if gradient is not None:
            gradients[name] = gradient.double().flatten()
    cosines = {
        (one, other): cosine_similarity(gradients[one], gradients[other], dim=0, eps=0)
        for one, other in combinations(gradients, 2)
    }
    if not cosines:
        return {}
    values = torch.stack(list(cosines.values())).tolist()
    # a gradient of zero has no direction
    return {pair: value for pair, value in zip(cosines, values, strict=True) if value == value}
