"""A scale and a shift for each channel."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.operation import Array, Shape, Values, by_channel, named
from fourfold.deploy.ir.ops.pointwise import Pointwise
from fourfold.record.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Pointwise):
    """scale · x + shift, a number a channel: batch norm that no convolution before it takes."""

    scale: Array
    """(channels,)."""
    shift: Array
    """(channels,)."""
    relu: bool = False

    kind: ClassVar[str] = "affine"
    arrays: ClassVar[tuple[str, ...]] = ("scale", "shift")

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the input."""
        (shape,) = inputs
        if self.scale.shape != shape[:1] or self.shift.shape != shape[:1]:
            raise UserError(f"{named(self)} has {self.scale.size} scales and {self.shift.size} shifts for {shape}")
        return shape

    def compute(self, *inputs: Values) -> Values:
        """Return each channel scaled and shifted."""
        (x,) = inputs
        return by_channel(self.scale, x) * x + by_channel(self.shift, x)

    def scale_and_shift(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return both in float64."""
        return self.scale.astype(np.float64), self.shift.astype(np.float64)
