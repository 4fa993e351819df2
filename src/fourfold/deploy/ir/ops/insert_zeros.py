"""Zeros between the pixels of a map: what makes a convolution a transposed one."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fourfold.deploy.ir.operation import Shape, check_positive, map_of
from fourfold.deploy.ir.ops.movement import OUTSIDE, Axis, Movement


@dataclass(frozen=True, kw_only=True, eq=False)
class InsertZeros(Movement):
    """A pixel each `factors` rows and columns, and zeros between: (height − 1) · factor + 1 rows."""

    factors: tuple[int, int]

    kind: ClassVar[str] = "insert_zeros"

    def sizes(self, shape: Shape) -> Shape:
        """Return channels, and the sides with zeros between."""
        channels, *sides = map_of(self, shape)
        check_positive(self, factors=self.factors)
        return channels, *((side - 1) * factor + 1 for side, factor in zip(sides, self.factors, strict=True))

    def axes(self, shape: Shape) -> list[Axis]:
        """Return the pixel at each place, or none."""
        channels, *sides = self.sizes(shape)
        axes = [Axis(0, np.arange(channels))]
        for axis, (size, factor) in enumerate(zip(sides, self.factors, strict=True), 1):
            places = np.arange(size)
            axes.append(Axis(axis, np.where(places % factor == 0, places // factor, OUTSIDE)))
        return axes
