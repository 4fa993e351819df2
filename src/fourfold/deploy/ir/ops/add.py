"""The sum of two values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fourfold.deploy.ir.levels import Levels, levels_for
from fourfold.deploy.ir.operation import Shape, Values, named
from fourfold.deploy.ir.ops.pointwise import Pointwise
from fourfold.record.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Pointwise):
    """The sum of two values of one shape."""

    relu: bool = False

    kind: ClassVar[str] = "add"
    num_inputs: ClassVar[int | None] = 2

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape of both."""
        first, second = inputs
        if first != second:
            raise UserError(f"{named(self)} must add values of one shape, not {first} and {second}")
        return first

    def compute(self, *inputs: Values) -> Values:
        """Return the sum."""
        return inputs[0] + inputs[1]

    def levels(self, before: Sequence[Levels], largest: float) -> Levels:
        """Sums of what is never negative are not, either."""
        return levels_for(largest, signed=not self.relu and any(levels.zero for levels in before))
