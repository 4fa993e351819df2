"""From a map to a vector."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fourfold.deploy.ir.levels import Sums
from fourfold.deploy.ir.operation import Operation, Shape, Values

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized


@dataclass(frozen=True, kw_only=True, eq=False)
class Flatten(Operation):
    """(channels, height, width) → (channels · height · width,): a change of shape, not of memory."""

    kind: ClassVar[str] = "flatten"
    keeps_scale: ClassVar[bool] = True

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the number of all numbers."""
        return (math.prod(inputs[0]),)

    def compute(self, *inputs: Values) -> Values:
        """Return the numbers in order."""
        return inputs[0].reshape(len(inputs[0]), -1)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the levels in order."""
        return inputs[0].reshape(len(inputs[0]), -1)
