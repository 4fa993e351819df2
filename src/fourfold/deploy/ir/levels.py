"""Levels: how the bytes of a value in int8 are to be read, and integer factors that make levels of levels.

A value of levels 0 … L stands for scale · (level − zero): L is 255 for the image and 127 elsewhere, zero is 0 where the value
cannot be negative (behind a ReLU) and the middle otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.record.errors import UserError

IMAGE_LEVELS = 255
VALUE_LEVELS = 127

FRACTION_BITS = 8
"""Behind the point, of an image given in floats before it is cut to levels."""

LARGEST_INPUT = 2**20
"""Beyond which such a number is cut, in units of its last bit."""

LARGEST_SHIFT = 20
"""Bits behind the point of integer factors, where there is room for them."""

LARGEST_SUM = 2**30
"""Of what a factor makes of a value or of a window's sum: half of what 32 bits hold."""

Int32 = NDArray[np.int32]
Sums = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How a value's levels are to be read: scale · (level − zero), for levels from 0 to `largest`."""

    scale: float
    zero: int
    largest: int


INDICES = Levels(scale=1.0, zero=0, largest=IMAGE_LEVELS)
"""Of an input that is looked up in a table: its levels are the indices themselves."""


def levels_for(largest_value: float, *, signed: bool, largest: int = VALUE_LEVELS) -> Levels:
    """Return the levels of a value up to a size, which may be negative or not."""
    zero = (largest + 1) // 2 if signed else 0
    return Levels(scale=(largest_value or 1.0) / (largest - zero), zero=zero, largest=largest)


def cut(levels: Any, largest: int) -> Sums:
    """Return integers, or floats without what is behind their point, cut to 0 … largest."""
    within: Sums = np.clip(levels, 0, largest).astype(np.int64)
    return within


def to_int32(numbers: NDArray[np.float64]) -> Int32:
    """Round to 32 bits, with room left for what is added."""
    return np.clip(np.rint(numbers), -(2**30), 2**30).astype(np.int32)


def fixed_point(factors: Sequence[float], shift_of: Sequence[float], reach: float) -> tuple[Int32, Int32, int]:
    """Return factors and shifts as integers, and the bits behind their point: (Σ factor · x + shift) >> bits.

    Args:
        factors: Real factors.
        shift_of: Real constants; half a unit, for rounding, is added here.
        reach: The largest Σ |x| that a factor meets.

    Raises:
        UserError: the ranges are so far apart that 32 bits do not hold what is made.
    """
    size = reach * max(map(abs, factors), default=0) + max(map(abs, shift_of), default=0) + 1
    if size > LARGEST_SUM:
        raise UserError(f"`ranges` must not ask for factors of {size:.3g} in int8: calibrate with images like those to be seen")
    bits = min(LARGEST_SHIFT, int(np.floor(30 - np.log2(size))))  # of 31, one is left for rounding the factors
    unit = 2.0**bits
    return to_int32(np.array(factors) * unit), to_int32((np.array(shift_of) + 0.5) * unit), bits


def integers(numbers: NDArray[Any]) -> Sums:
    """Return the integer next to each value."""
    rounded: Sums = np.rint(numbers).astype(np.int64)
    return rounded


def requantized(before: Levels, after: Levels) -> Sums:
    """Return for each level of a value the nearest level of the same number in another scale."""
    return nearest(before.scale * (np.arange(before.largest + 1) - before.zero), after)


def nearest(numbers: NDArray[Any], levels: Levels) -> Sums:
    """Return the level next to each value, cut to those that there are; of NaN, that of zero."""
    codes = np.nan_to_num(np.rint(numbers / levels.scale), nan=0, posinf=levels.largest, neginf=-levels.largest) + levels.zero
    return cut(codes, levels.largest)
