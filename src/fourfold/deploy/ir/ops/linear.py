"""Linear layers."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fourfold.deploy.ir.operation import Shape, Values, named
from fourfold.deploy.ir.product import ProductOperation, checked_outputs, real_matrix, with_bias
from fourfold.record.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(ProductOperation):
    """A matrix product with a vector."""

    relu: bool = False

    kind: ClassVar[str] = "linear"

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the outputs."""
        (shape,) = inputs
        if len(shape) != 1:
            raise UserError(f"{named(self)} must be given a vector, not {shape}: a flatten before it makes one")
        return (checked_outputs(self, 3, shape[0], 1),)

    def work(self, output: Shape, *inputs: Shape) -> int:
        """Return the multiply-adds of all weights."""
        return self.product.n * self.product.weight.size

    def compute(self, *inputs: Values) -> Values:
        """Return the sums, with the bias."""
        return with_bias(inputs[0] @ real_matrix(self.product).astype(np.float64).T, self.product)
