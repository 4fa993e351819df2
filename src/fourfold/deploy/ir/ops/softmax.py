"""Softmax."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import Levels, Sums, cut, fixed_point, integers, levels_for
from fourfold.deploy.ir.operation import Operation, Shape, Values, named
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

UNIT_BITS = 15
"""In int8, of the largest term of a sum of exponentials."""

LONGEST = 2**16
"""Terms of a sum in int8: of 32 bits, one is left."""

LOG_BITS = 10
"""Of the mantissa by which a logarithm is looked up."""

POINT_BITS = 16
"""Behind the point of a logarithm."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Operation):
    """exp(x) / Σ exp(x) along an axis, or its logarithm.

    In int8, exponentials of the levels below the largest come from a table, in units of 2^-15; their sum is divided by, or its
    logarithm looked up by its ten highest bits.
    """

    axis: int
    log: bool = False

    kind: ClassVar[str] = "softmax"

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the input."""
        if not 0 <= self.axis < len(inputs[0]):
            raise UserError(f"{named(self)} has `axis` (={self.axis}), which must be one of {inputs[0]}")
        return inputs[0]

    def compute(self, *inputs: Values) -> Values:
        """Return shares, or their logarithms."""
        (x,) = inputs
        axis = self.axis + 1
        below = x - x.max(axis=axis, keepdims=True)
        sums = np.exp(below).sum(axis=axis, keepdims=True)
        result: Values = below - np.log(sums) if self.log else np.exp(below) / sums
        return result

    def levels(self, before: Sequence[Levels], largest: float) -> Levels:
        """Shares are never negative."""
        return levels_for(largest, signed=self.log)

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless sums fit."""
        size = quantized.program.shapes[self.inputs[0]][self.axis]
        if size > LONGEST:
            raise UserError(f"{named(self)} adds {size} terms, which must be at most {LONGEST} in int8")
        if self.log:
            self.log_factor(quantized)

    def exponentials(self, quantized: "Quantized") -> Sums:
        """Return exp(−scale · d) in units of 2^-15 for a level that lies d below the largest."""
        before = quantized.levels[self.inputs[0]]
        return integers(np.exp(-before.scale * np.arange(before.largest + 1.0)) * 2**UNIT_BITS)

    def share(self, quantized: "Quantized") -> int:
        """Return the level of a share of one."""
        return round(min(1 / quantized.levels[self.output].scale, 2.0**31))

    @staticmethod
    def logarithms() -> Sums:
        """Return log(1 + m / 2^10) with 16 bits behind the point, for each mantissa."""
        return integers(np.log1p(np.arange(2**LOG_BITS) / 2**LOG_BITS) * 2**POINT_BITS)

    def distances(self, quantized: "Quantized") -> Sums:
        """Return scale · d with 16 bits behind the point, cut to 2^14, for a level that lies d below the largest."""
        before = quantized.levels[self.inputs[0]]
        numbers = before.scale * np.arange(before.largest + 1.0) * 2**POINT_BITS
        return integers(np.minimum(numbers, 2**29))

    def log_factor(self, quantized: "Quantized") -> tuple[int, int, int]:
        """Return factor, shift and bits that make a level of a negative logarithm: (factor · (number >> 8) + shift) >> bits."""
        after = quantized.levels[self.output]
        factors, shifts, bits = fixed_point([-(2.0 ** (8 - POINT_BITS)) / after.scale], [after.zero], 2**22)
        return int(factors[0]), int(shifts[0]), bits

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the levels of shares, or of their logarithms."""
        self.check_int8(quantized)
        (x,) = inputs
        axis, after = self.axis + 1, quantized.levels[self.output]
        below = x.max(axis=axis, keepdims=True) - x
        terms = self.exponentials(quantized)[below]
        sums = terms.sum(axis=axis, keepdims=True)
        if not self.log:
            return cut((terms * self.share(quantized) + (sums >> 1)) // sums, after.largest)
        exponents = np.floor(np.log2(sums)).astype(np.int64)
        mantissas = ((sums << 31) >> exponents >> (31 - LOG_BITS)) & (2**LOG_BITS - 1)
        step = round(np.log(2) * 2**POINT_BITS)
        logs = self.logarithms()[mantissas] + (exponents - UNIT_BITS) * step
        factor, shift, bits = self.log_factor(quantized)
        return cut((((self.distances(quantized)[below] + logs) >> 8) * factor + shift) >> bits, after.largest)
