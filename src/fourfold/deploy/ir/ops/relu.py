"""ReLU by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fourfold.deploy.ir.levels import Levels, levels_for
from fourfold.deploy.ir.operation import Shape, Values
from fourfold.deploy.ir.ops.pointwise import Pointwise


@dataclass(frozen=True, kw_only=True, eq=False)
class Relu(Pointwise):
    """max(x, 0), where no operation before it takes it along."""

    kind: ClassVar[str] = "relu"

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the input."""
        return inputs[0]

    def compute(self, *inputs: Values) -> Values:
        """Return what is positive, and zeros."""
        positive: Values = np.maximum(inputs[0], 0)
        return positive

    def levels(self, before: Sequence[Levels], largest: float) -> Levels:
        """It is never negative."""
        return levels_for(largest, signed=False)
