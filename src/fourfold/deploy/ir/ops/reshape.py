"""The same numbers in another shape."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fourfold.deploy.ir.levels import Sums
from fourfold.deploy.ir.operation import Operation, Shape, Values, named
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

MOST_AXES = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Operation):
    """The same numbers, in order, in another shape."""

    shape: Shape

    kind: ClassVar[str] = "reshape"
    keeps_scale: ClassVar[bool] = True

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the new shape."""
        if math.prod(self.shape) != math.prod(inputs[0]) or not 1 <= len(self.shape) <= MOST_AXES:
            raise UserError(f"{named(self)} cannot make {self.shape} of {inputs[0]}")
        return self.shape

    def compute(self, *inputs: Values) -> Values:
        """Return the numbers in order."""
        return inputs[0].reshape(len(inputs[0]), *self.shape)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the levels in order."""
        return inputs[0].reshape(len(inputs[0]), *self.shape)
