"""Products of two values as matrices."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.bounds import LARGEST_RANGE
from fourfold.deploy.ir.levels import Sums, cut
from fourfold.deploy.ir.operation import Operation, Shape, Values, named
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

LONGEST = 2**16
"""Terms of a sum in int8."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MatMul(Operation):
    """(…, rows, terms) · (…, terms, columns), as in attention."""

    kind: ClassVar[str] = "matmul"
    num_inputs: ClassVar[int | None] = 2

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return (…, rows, columns)."""
        first, second = inputs
        if len(first) < 2 or len(first) != len(second) or first[:-2] != second[:-2] or first[-1] != second[-2]:
            raise UserError(f"{named(self)} must be given matrices that fit each other, not {first} and {second}")
        return *first[:-1], second[-1]

    def work(self, output: Shape, *inputs: Shape) -> int:
        """Return the multiply-adds of all sums."""
        return math.prod(output) * inputs[0][-1]

    def compute(self, *inputs: Values) -> Values:
        """Return the product."""
        result: Values = inputs[0] @ inputs[1]
        return result

    def factor(self, quantized: "Quantized") -> tuple[int, np.float32]:
        """Return what is added to a sum of levels, and what it is then multiplied by: the output's zero and a half are in it.

        Raises:
            UserError: sums do not fit into 32 bits, or the factor is beyond float32.
        """
        one, other, after = (quantized.levels[value] for value in (*self.inputs, self.output))
        terms = quantized.program.shapes[self.inputs[0]][-1]
        factor = one.scale * other.scale / after.scale
        bias = (after.zero + 0.5) / factor
        if terms > LONGEST or bias > 2**30:
            raise UserError(f"{named(self)} has sums of {terms} terms and ranges that do not fit into int8's 32 bits")
        if factor > LARGEST_RANGE:
            raise UserError(f"{named(self)} has ranges that ask for factors of {factor:.3g} in int8")
        return round(bias), np.float32(factor)

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless sums fit."""
        self.factor(quantized)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the levels of the product."""
        one, other, after = (quantized.levels[value] for value in (*self.inputs, self.output))
        bias, factor = self.factor(quantized)
        sums = (inputs[0] - one.zero) @ (inputs[1] - other.zero) + bias
        return cut(sums.astype(np.int32).astype(np.float32) * factor, after.largest)
