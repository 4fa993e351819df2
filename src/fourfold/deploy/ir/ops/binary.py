"""Arithmetic of two values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import Levels, Sums, cut, fixed_point, levels_for, requantized
from fourfold.deploy.ir.operation import Operation, Shape, Values, named
from fourfold.record.errors import UserError, unknown

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Binary(Operation):
    """A function of two values with as many axes; one of length 1 stands for any length."""

    function: str

    kind: ClassVar[str] = "binary"
    num_inputs: ClassVar[int | None] = 2

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the longer of both along each axis."""
        first, second = inputs
        if self.function not in FUNCTIONS:
            raise unknown("function", self.function, FUNCTIONS)
        if len(first) != len(second) or any(a != b and 1 not in (a, b) for a, b in zip(first, second, strict=True)):
            raise UserError(f"{named(self)} must be given values of shapes that fit each other, not {first} and {second}")
        return tuple(max(sides) for sides in zip(first, second, strict=True))

    def compute(self, *inputs: Values) -> Values:
        """Return the function of both."""
        with np.errstate(all="ignore"):
            result: Values = FUNCTIONS[self.function](*inputs)
        return result

    def levels(self, before: Sequence[Levels], largest: float) -> Levels:
        """Only differences are negative where nothing before them is."""
        return levels_for(largest, signed=self.function == "subtract" or any(levels.zero for levels in before))

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless the function is one of integers, and its factors fit."""
        if self.function == "divide":
            raise UserError(f"{named(self)} divides by a value, which int8 does not do: deploy the network in float32")
        if self.function in ("add", "subtract"):
            self.sum_factors(quantized)
        elif self.function == "multiply":
            self.product_factor(quantized)

    def sum_factors(self, quantized: "Quantized") -> tuple[int, int, int, int]:
        """Return both factors, shift and bits of a sum or a difference: (factor · x + factor · y + shift) >> bits."""
        one, other, after = (quantized.levels[value] for value in (*self.inputs, self.output))
        factors = [one.scale / after.scale, (1 if self.function == "add" else -1) * other.scale / after.scale]
        shift = after.zero - factors[0] * one.zero - factors[1] * other.zero
        integers, shifts, bits = fixed_point(factors, [shift], one.largest + other.largest)
        return int(integers[0]), int(integers[1]), int(shifts[0]), bits

    def product_factor(self, quantized: "Quantized") -> tuple[int, int, int]:
        """Return factor, shift and bits of a product: ((x − zero) · (y − zero) · factor + shift) >> bits."""
        one, other, after = (quantized.levels[value] for value in (*self.inputs, self.output))
        factors, shifts, bits = fixed_point([one.scale * other.scale / after.scale], [after.zero], one.largest * other.largest)
        return int(factors[0]), int(shifts[0]), bits

    def tables(self, quantized: "Quantized") -> list[Sums]:
        """Return the levels of both inputs in the output's scale."""
        return [requantized(quantized.levels[value], quantized.levels[self.output]) for value in self.inputs]

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the function of both in integers."""
        self.check_int8(quantized)
        x, y = inputs
        largest = quantized.levels[self.output].largest
        if self.function in ("maximum", "minimum"):
            one, other = (table[levels] for table, levels in zip(self.tables(quantized), inputs, strict=True))
            return FUNCTIONS[self.function](one, other)
        if self.function == "multiply":
            zeros = [quantized.levels[value].zero for value in self.inputs]
            factor, shift, bits = self.product_factor(quantized)
            return cut(((x - zeros[0]) * (y - zeros[1]) * factor + shift) >> bits, largest)
        first, second, shift, bits = self.sum_factors(quantized)
        return cut((x * first + y * second + shift) >> bits, largest)
