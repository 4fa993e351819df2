"""Pooling to a size, whatever the map's is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.levels import LARGEST_SUM, Levels, Sums, cut, fixed_point, levels_for, requantized
from fourfold.deploy.ir.operation import Operation, Shape, Values, check_positive, map_of, named
from fourfold.record.errors import UserError, unknown

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

FUNCTIONS = ("mean", "max")


@dataclass(frozen=True, kw_only=True, eq=False)
class AdaptivePool(Operation):
    """`torch.nn.AdaptiveAvgPool2d` and `AdaptiveMaxPool2d`: windows that may overlap and differ in size."""

    function: str
    size: tuple[int, int]

    kind: ClassVar[str] = "adaptive_pool"

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return channels and the size."""
        channels, *_ = map_of(self, inputs[0])
        if self.function not in FUNCTIONS:
            raise unknown("function", self.function, FUNCTIONS)
        check_positive(self, size=self.size)
        check("entries", sum(self.size), named(self))
        check("value", channels * math.prod(self.size), named(self))
        return channels, *self.size

    def work(self, output: Shape, *inputs: Shape) -> int:
        """Return the numbers made: what windows see is not more than a few times the map."""
        return math.prod(output)

    def windows(self, axis: int, size: int) -> tuple[list[int], list[int]]:
        """Return where the windows along rows (0) or columns (1) begin and end."""
        outputs = self.size[axis]
        starts = [place * size // outputs for place in range(outputs)]
        return starts, [-(-(place + 1) * size // outputs) for place in range(outputs)]

    def compute(self, *inputs: Values) -> Values:
        """Return the function of each window."""
        (x,) = inputs
        function = np.mean if self.function == "mean" else np.max
        result: Values = self._each(x, lambda window: function(window, axis=(2, 3)))
        return result

    def _each(self, x: Any, function: Any) -> Any:
        rows, columns = (list(zip(*self.windows(axis, x.shape[axis + 2]), strict=True)) for axis in (0, 1))
        pooled = [[function(x[:, :, a:b, c:d]) for c, d in columns] for a, b in rows]
        return np.moveaxis(np.array(pooled), (0, 1), (2, 3))

    def levels(self, before: Sequence[Levels], largest: float) -> Levels:
        """What is never negative has no negative means."""
        return levels_for(largest, signed=any(levels.zero for levels in before))

    def mean_factor(self, quantized: "Quantized") -> tuple[int, int, int]:
        """Return factor, shift and bits of a mean: (Σ (level − zero) · (factor // count) + shift) >> bits."""
        before, after = (quantized.levels[value] for value in (self.inputs[0], self.output))
        if math.prod(quantized.program.shapes[self.inputs[0]][1:]) * before.largest > LARGEST_SUM:
            raise UserError(f"{named(self)} has windows whose sums do not fit into int8's 32 bits")
        factors, shifts, bits = fixed_point([before.scale / after.scale], [after.zero], before.largest)
        return int(factors[0]), int(shifts[0]), bits

    def table(self, quantized: "Quantized") -> Sums:
        """Return the input's levels in the output's scale, for the largest of windows."""
        return requantized(quantized.levels[self.inputs[0]], quantized.levels[self.output])

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless sums fit."""
        if self.function == "mean":
            self.mean_factor(quantized)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the function of each window's levels."""
        (x,) = inputs
        if self.function == "max":
            return self.table(quantized)[self._each(x, lambda window: window.max(axis=(2, 3)))]
        factor, shift, bits = self.mean_factor(quantized)
        shifted = x - quantized.levels[self.inputs[0]].zero
        sums = self._each(shifted, lambda window: window.sum(axis=(2, 3)) * (factor // (window.shape[2] * window.shape[3])))
        return cut((sums + shift) >> bits, quantized.levels[self.output].largest)
