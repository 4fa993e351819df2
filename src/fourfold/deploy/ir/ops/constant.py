"""A value that does not depend on the image."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import Sums, nearest
from fourfold.deploy.ir.operation import Array, Operation, Shape, Values, named
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized


@dataclass(frozen=True, kw_only=True, eq=False)
class Constant(Operation):
    """A parameter or buffer that a forward uses by itself, such as the embedding of positions."""

    shape: Shape
    numbers: Array
    """(prod(shape),)."""

    kind: ClassVar[str] = "constant"
    num_inputs: ClassVar[int | None] = 0
    arrays: ClassVar[tuple[str, ...]] = ("numbers",)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return its shape."""
        if not self.shape or self.numbers.shape != (math.prod(self.shape),):
            raise UserError(f"{named(self)} has {self.numbers.size} numbers, which do not fill {self.shape}")
        return self.shape

    def compute(self, *inputs: Values) -> Values:
        """Return the numbers as of one image, which broadcasts over all."""
        numbers: Values = self.numbers.astype(np.float64).reshape(1, *self.shape)
        return numbers

    def codes(self, quantized: "Quantized") -> Sums:
        """Return its levels, flat."""
        return nearest(self.numbers.astype(np.float64), quantized.levels[self.output])

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return its levels as of one image."""
        return self.codes(quantized).reshape(1, *self.shape)
