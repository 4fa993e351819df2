"""`Bilinear` in every algebra."""

from typing import Any

from torch import Generator, Tensor, nn
from torch.nn import functional as F

from fourfold.algebra import Algebra
from fourfold.nn import init
from fourfold.nn.base import AlgebraLayer, check_divisible, fixed
from fourfold.nn.blocks import draw_
from fourfold.record.errors import unknown


class Bilinear(AlgebraLayer, nn.Bilinear):
    """y_o = Σ_ij (W_oij · x1_i) · x2_j + b_o over algebra elements; `real` is `torch.nn.Bilinear` to the last bit.

    The brackets count for octonions, which do not associate; the order counts from the quaternions on.

    Shapes: x1 (..., in1_features), x2 (..., in2_features) → (..., out_features), all blocked by component
    ([r…, x…, y…, z…]); weight (out_features, in1_features / n, in2_features / n), blocked by component along its first
    axis: n² times fewer weights than the real layer has.

    Raises:
        ValueError: a size is not divisible by the algebra's dimension n.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        algebra = fixed(algebra)
        sizes = {"in1_features": in1_features, "in2_features": in2_features, "out_features": out_features}
        for name, size in sizes.items():
            check_divisible(name, size, algebra)
        super().__init__(in1_features // algebra.n, in2_features // algebra.n, out_features, bias, device, dtype)
        self.in1_features, self.in2_features = in1_features, in2_features
        self._use(algebra)

    def draw(self, scheme: str = "torch", generator: Generator | None = None, form: str = "polar") -> None:
        """Draw weight and bias afresh; only the first input's features count as inputs, as in torch."""
        draw_bilinear_(self, self.algebra, scheme, generator, form)

    _multiplies = False

    def _matrix_of(self, weight: Tensor, constants: Tensor | None = None) -> Tensor:
        """Return the real weight that torch's functional takes: (out_features, in1_features, in2_features)."""
        n, (out, in1, in2) = self.algebra.n, weight.shape
        if n == 1:
            return weight
        # Column (a, i) of the matrix of W·x1 is the number W_oij · e_a; the matrix of *its* product with x2 is wanted.
        columns = self.algebra.matrix(weight.view(n, out // n, in1, in2)).view(n, out // n, n, in1, in2)
        products = self.algebra.matrix(columns.permute(0, 1, 4, 2, 3))  # (out, n · in2, a, i)
        return products.permute(0, 2, 3, 1).reshape(out, n * in1, n * in2)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Return Σ (W·x1)·x2 + b."""
        return F.bilinear(input1, input2, self.expanded(), self.bias)


def draw_bilinear_(layer: nn.Bilinear, algebra: Algebra, scheme: str, generator: Generator | None, form: str) -> None:
    """Draw weight and bias of a bilinear layer, ours or torch's, afresh."""
    if scheme not in init.SCHEMES:
        raise unknown("scheme", scheme, init.SCHEMES)
    draw_(layer.weight, algebra, init.SCHEMES[scheme](layer.in1_features, layer.out_features), form, generator)
    if layer.bias is not None:
        init.bias_(layer.bias, layer.in1_features, scheme, generator)
