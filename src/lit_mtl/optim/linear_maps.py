"""Linear maps with a closed form: of vectors to fewer dimensions, and of one space of vectors to another.

Shapes: R rows, H and D dimensions.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import normalize

RIDGE = 0.01
"""Of `aligning_map`: how much a direction in which the vectors hardly differ is turned and not fitted."""


def principal_directions(parts: Iterable[Tensor], *, count: int) -> tuple[Tensor, float]:
    """The directions that keep most of the squared length of vectors scaled to length 1.

    Args:
        parts: the vectors, (R, H) in parts of rows.
        count: how many directions, D.

    Returns:
        The directions, (D, H) with orthonormal rows in float64, and the share that they keep.
    """
    units = (normalize(part.double(), dim=1) for part in parts)
    lengths, directions = torch.linalg.eigh(sum(unit.T @ unit for unit in units))
    return directions[:, -count:].T.flip(0), float(lengths[-count:].sum() / lengths.sum())


def aligning_map(
    vectors: Tensor, targets: Tensor, *, ridge: float = RIDGE
) -> tuple[Tensor, Tensor]:
    """The affine map of vectors to what they should be, by least squares, such that it can be undone.

    It is ridge regression that shrinks towards the best similarity transform and not towards zero: with
    C = targets' vectors / R = U S V' and G = vectors' vectors / R, of centred rows, and r = ridge * mean(diag G),

        map = (C + r s U V') (G + r 1)^-1

    where s U V' is the turn and the scale that bring the vectors nearest to the targets (Schoenemann 1966;
    Schoenemann & Carroll 1970). The first factor is U (S + r s) V', so no direction is lost.

    Args:
        vectors: (R, D).
        targets: (R, D).
        ridge: above 0.

    Returns:
        The map, (D, D), and what is added, (D,), in float64.
    """
    means = [rows.double().mean(dim=0) for rows in (vectors, targets)]
    own, aim = (rows.double() - mean for rows, mean in zip((vectors, targets), means, strict=True))
    cross, gram = aim.T @ own / len(own), own.T @ own / len(own)
    left, sizes, right = torch.linalg.svd(cross)
    turn = sizes.sum() / gram.trace() * (left @ right)
    weight = ridge * gram.diagonal().mean()
    shrunk = gram + weight * torch.eye(len(gram), dtype=gram.dtype)
    matrix = torch.linalg.solve(shrunk, (cross + weight * turn).T).T
    return matrix, means[1] - matrix @ means[0]
