"""From numbers of an algebra to real features.

The usual head of a classifier needs no class of its own: `Linear(features, classes)`, with the default `algebra="real"`, reads
all components of all numbers as real features.
"""

from torch import Tensor

from fourfold.nn.components import NumberFunction, axis_of, norms, split_components


class NormHead(NumberFunction):
    """The norm |q| of every element; its gradient at zero is zero. With n = 1 it is the absolute value.

    Shapes: x (…, n·c, …) with the numbers along `dim`, blocked by component ([r…, x…, y…, z…]) → (…, c, …). `dim` is 1 for
    (N, features) and (N, channels, *size), −1 for sequences (N, L, features).

    Raises:
        ValueError: `x` has no axis `dim`, or its size is not divisible by the algebra's dimension.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return |q| of every element q."""
        dim = axis_of(input, self.dim)
        return norms(split_components(input, self.algebra, dim), dim).squeeze(dim).to(input.dtype)


class RealPartHead(NumberFunction):
    """The real part of every element. With n = 1 it is the identity. Shapes and errors are those of `NormHead`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the real part of every element."""
        dim = axis_of(input, self.dim)
        return split_components(input, self.algebra, dim).select(dim, 0)
