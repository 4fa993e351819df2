"""Values side by side."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import Sums, requantized
from fourfold.deploy.ir.operation import Operation, Shape, Values, named
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Operation):
    """Values one after the other along an axis."""

    axis: int

    kind: ClassVar[str] = "concat"
    num_inputs: ClassVar[int | None] = None

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape with all lengths of the axis added up."""
        axis, first = self.axis, inputs[0]
        if not 0 <= axis < len(first):
            raise UserError(f"{named(self)} has `axis` (={axis}), which must be one of {first}")
        if len({(len(shape), *shape[:axis], *shape[axis + 1 :]) for shape in inputs}) > 1:
            raise UserError(f"{named(self)} must join values that differ in axis {axis} alone, not {inputs!s:.100}")
        return (*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :])

    def compute(self, *inputs: Values) -> Values:
        """Return all values in one."""
        return np.concatenate(inputs, axis=self.axis + 1)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return all levels, as the output's scale has them, in one."""
        after = quantized.levels[self.output]
        before = [quantized.levels[value] for value in self.inputs]
        scaled = [requantized(levels, after)[x] for levels, x in zip(before, inputs, strict=True)]
        return np.concatenate(scaled, axis=self.axis + 1)
