"""Sums, means and extremes over axes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import LARGEST_SUM, Levels, Sums, cut, fixed_point, levels_for, requantized
from fourfold.deploy.ir.operation import Operation, Shape, Values, named
from fourfold.record.errors import UserError, unknown

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

FUNCTIONS: dict[str, Callable[..., Any]] = {"mean": np.mean, "sum": np.sum, "max": np.max, "min": np.min}


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduce(Operation):
    """A function of all numbers along some axes, of which a length of 1 is left."""

    function: str
    axes: tuple[int, ...]

    kind: ClassVar[str] = "reduce"

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape with 1 for each of the axes."""
        (shape,) = inputs
        if self.function not in FUNCTIONS:
            raise unknown("function", self.function, FUNCTIONS)
        if not self.axes or len(set(self.axes)) != len(self.axes) or not all(0 <= axis < len(shape) for axis in self.axes):
            raise UserError(f"{named(self)} has `axes` (={self.axes}), which must be some of those of {shape}")
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(shape))

    def compute(self, *inputs: Values) -> Values:
        """Return the function along the axes."""
        result: Values = FUNCTIONS[self.function](inputs[0], axis=tuple(axis + 1 for axis in self.axes), keepdims=True)
        return result

    def levels(self, before: Sequence[Levels], largest: float) -> Levels:
        """What is never negative has no negative sums."""
        return levels_for(largest, signed=any(levels.zero for levels in before))

    def count(self, shape: Shape) -> int:
        """Return how many numbers of an input of a shape become one."""
        return math.prod(shape[axis] for axis in self.axes)

    def sum_factor(self, quantized: "Quantized") -> tuple[int, int, int]:
        """Return factor, shift and bits of a sum or mean: (Σ (level − zero) · factor + shift) >> bits.

        Raises:
            UserError: the sums do not fit into 32 bits.
        """
        before, after = (quantized.levels[value] for value in (self.inputs[0], self.output))
        count = self.count(quantized.program.shapes[self.inputs[0]])
        if count * before.largest > LARGEST_SUM:
            raise UserError(f"{named(self)} adds {count} numbers, whose sums do not fit into int8's 32 bits")
        factor = before.scale / after.scale / (count if self.function == "mean" else 1)
        factors, shifts, bits = fixed_point([factor], [after.zero], count * before.largest)
        return int(factors[0]), int(shifts[0]), bits

    def table(self, quantized: "Quantized") -> Sums:
        """Return the input's levels in the output's scale, for extremes."""
        return requantized(quantized.levels[self.inputs[0]], quantized.levels[self.output])

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless sums fit."""
        if self.function in ("mean", "sum"):
            self.sum_factor(quantized)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the function of levels."""
        (x,) = inputs
        axes = tuple(axis + 1 for axis in self.axes)
        if self.function in ("max", "min"):
            return self.table(quantized)[FUNCTIONS[self.function](x, axis=axes, keepdims=True)]
        factor, shift, bits = self.sum_factor(quantized)
        sums = (x - quantized.levels[self.inputs[0]].zero).sum(axis=axes, keepdims=True)
        return cut((sums * factor + shift) >> bits, quantized.levels[self.output].largest)
