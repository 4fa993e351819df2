"""ReLU with a slope for each channel."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import Sums, nearest
from fourfold.deploy.ir.operation import Array, Operation, Shape, Values, by_channel, named
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized


@dataclass(frozen=True, kw_only=True, eq=False)
class PRelu(Operation):
    """x where it is positive, and slope · x elsewhere; in int8 a table for each channel."""

    slope: Array
    """(channels,)."""

    kind: ClassVar[str] = "prelu"
    arrays: ClassVar[tuple[str, ...]] = ("slope",)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the input."""
        if self.slope.shape != inputs[0][:1]:
            raise UserError(f"{named(self)} has {self.slope.size} slopes for {inputs[0]}")
        return inputs[0]

    def compute(self, *inputs: Values) -> Values:
        """Return both parts."""
        (x,) = inputs
        return np.maximum(x, 0) + by_channel(self.slope, x) * np.minimum(x, 0)

    def table(self, quantized: "Quantized") -> Sums:
        """Return for each channel the level that becomes of each level."""
        before, after = (quantized.levels[value] for value in (self.inputs[0], self.output))
        numbers = before.scale * (np.arange(before.largest + 1.0) - before.zero)
        return nearest(np.maximum(numbers, 0) + self.slope[:, None].astype(np.float64) * np.minimum(numbers, 0), after)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return what each channel's table has for each level."""
        (x,) = inputs
        channels = np.arange(len(self.slope)).reshape(-1, *[1] * (x.ndim - 2))
        return self.table(quantized)[channels, x]
