"""What moves numbers share: each output is a copy of one input, or of a constant, and each axis is moved by itself."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.levels import Sums
from fourfold.deploy.ir.operation import Operation, Shape, Values, named

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

OUTSIDE = -1
"""The place of what lies outside the input."""


class Axis(NamedTuple):
    """Where the numbers along an axis of the output come from."""

    source: int
    """The axis of the input."""
    places: NDArray[np.int64]
    """Along it, or `OUTSIDE`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Movement(Operation):
    """output[i, j, …] = input[places of i, places of j, …], axes in any order."""

    keeps_scale: ClassVar[bool] = True

    def sizes(self, shape: Shape) -> Shape:
        """Return the output's shape for an input's: cheaply, for a file may promise anything.

        Raises:
            UserError: the input does not fit.
        """
        raise NotImplementedError

    def axes(self, shape: Shape) -> list[Axis]:
        """Return for each axis of the output where its numbers come from in an input of a shape that fits."""
        raise NotImplementedError

    @property
    def outside(self) -> float:
        """What lies outside the input."""
        return 0.0

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the number of places along each axis, each of which is an entry of a table."""
        shape = self.sizes(inputs[0])
        check("entries", sum(shape), named(self))
        check("value", math.prod(shape), named(self))
        return shape

    def compute(self, *inputs: Values) -> Values:
        """Return the numbers in their new places."""
        result: Values = self._moved(inputs[0], self.outside)
        return result

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the levels in their new places."""
        return self._moved(inputs[0], self.outside_level(quantized))

    def outside_level(self, quantized: "Quantized") -> int:
        """Return the level of what lies outside the input."""
        levels = quantized.levels[self.output]
        return int(np.clip(np.rint(self.outside / levels.scale) + levels.zero, 0, levels.largest))

    def _moved(self, x: Any, outside: float) -> Any:
        axes = self.axes(x.shape[1:])
        y = x.transpose(0, *(axis.source + 1 for axis in axes))
        for number, axis in enumerate(axes, 1):
            y = np.take(y, np.maximum(axis.places, 0), axis=number)
            if (axis.places == OUTSIDE).any():
                y[(slice(None),) * number + (axis.places == OUTSIDE,)] = outside
        return y
