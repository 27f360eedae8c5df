"""Exact mean and standard deviation of many numbers, fast.

What is measured here goes into the loss, so it must not depend on the order in which rows are read,
on how they are summed, or on the machine.
"""

from fractions import Fraction
from math import isqrt

import numpy as np
import numpy.typing as npt

_HALF = 27
"""Bits of the lower part of a float's 53; the products of two parts fit into 64."""

_BLOCK = 2**20
"""Numbers that are summed at once: what is computed of them takes several times their memory."""


def mean_and_deviation(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and population standard deviation, as `statistics.fmean` and `pstdev` give them.

    Both take the exact sums of the numbers and of their squares: here in integers, all numbers of one
    power of two at once, which is several times as fast.

    Args:
        values: finite numbers, (N,); at least one.
    """
    count = len(values)
    total = squares = Fraction(0)
    for start in range(0, count, _BLOCK):
        sums = _sums(values[start : start + _BLOCK])
        total, squares = total + sums[0], squares + sums[1]
    variance = (squares - total * total / count) / count
    return float(total) / count, _root(variance)


def _sums(values: npt.NDArray[np.float64]) -> tuple[Fraction, Fraction]:
    """Exact sums of numbers and of their squares."""
    fraction, exponents = np.frexp(values)
    integers = np.ldexp(fraction, 53).astype(np.int64)
    total = squares = Fraction(0)
    for exponent in np.unique(exponents):
        whole = integers[exponents == exponent]
        high, low = whole >> _HALF, whole & ((1 << _HALF) - 1)
        square = _sum(high * high) << 2 * _HALF
        square += (_sum(high * low) << _HALF + 1) + _sum(low * low)
        unit = Fraction(2) ** (int(exponent) - 53)
        total += _sum(whole) * unit
        squares += square * unit * unit
    return total, squares


def _sum(integers: npt.NDArray[np.int64]) -> int:
    """A sum that cannot overflow below 2**31 integers."""
    return (int((integers >> 32).sum()) << 32) + int((integers & 0xFFFFFFFF).sum())


def _root(square: Fraction) -> float:
    """The float nearest to a square root.

    The root of a large integer is cut off, with its last bit set if anything was lost, so that the
    division at the end rounds it once and correctly.
    """
    numerator, denominator = square.numerator, square.denominator
    shift = (numerator.bit_length() - denominator.bit_length() - 109) // 2
    numerator <<= max(0, -2 * shift)
    denominator <<= max(0, 2 * shift)
    root = isqrt(numerator // denominator)
    root |= root * root * denominator != numerator
    return (root << max(0, shift)) / (1 << max(0, -shift))
