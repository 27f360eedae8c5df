"""Which part of a large confusion matrix is shown. Shapes: C classes."""

from collections.abc import Sequence

import numpy as np


def most_confused(counts: Sequence[Sequence[int]], *, most: int) -> list[int]:
    """Places of the classes in whose row or column most errors stand, in their own order.

    Args:
        counts: by true class (rows) and predicted class (columns), (C, C).
        most: how many. Of those with equally many errors the first ones.

    Returns:
        All places where there are no more than so many.
    """
    errors = np.array(counts)
    np.fill_diagonal(errors, 0)
    order = np.argsort(-(errors.sum(axis=0) + errors.sum(axis=1)), kind="stable")
    return sorted(order[:most].tolist())


def left_out(shown: int, classes: int) -> str:
    """What is said of the classes that are not shown; nothing where all are."""
    return "" if shown == classes else f"the {shown} most confused of {classes} classes"
