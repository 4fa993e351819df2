"""`Linear` in every algebra."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourfold.algebra import Algebra, get
from fourfold.nn.base import AlgebraLayer, check_divisible


class Linear(AlgebraLayer, nn.Linear):
    """y = W·x + b, where W is a matrix of algebra numbers; `real` is `torch.nn.Linear` to the last bit.

    Shapes: x (..., in_features) → (..., out_features), features blocked by component ([r…, x…, y…, z…]);
    weight (out_features, in_features / n), blocked by component along its first axis.

    Raises:
        ValueError: a size is not divisible by the algebra's dimension n.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        algebra = get(algebra)
        check_divisible("in_features", in_features, algebra)
        check_divisible("out_features", out_features, algebra)
        super().__init__(in_features // algebra.n, out_features, bias, device, dtype)
        self.in_features = in_features
        self._use(algebra)

    def forward(self, input: Tensor) -> Tensor:
        """Return W·x + b."""
        if _few_rows(input, self.in_features, self.algebra.n):
            return _component_products(input, self.weight, self.bias, self.algebra)
        return F.linear(input, self.matrix(), self.bias)


def _few_rows(input: Tensor, in_features: int, n: int) -> bool:
    """Whether signs are cheaper to apply to the products of this input than to the weights.

    The products of components number rows · n · out, the entries of the real matrix in · out. Only in plain eager mode:
    compilers, exporters and autocast see the matrix.
    """
    if n == 1 or input.shape[-1:] != (in_features,) or type(input) is not Tensor:
        return False
    rows = input.numel() // in_features
    if rows * n >= in_features or input.device.type not in ("cpu", "cuda"):
        return False
    return not torch.compiler.is_compiling() and not torch.is_autocast_enabled(input.device.type)


def _component_products(input: Tensor, weight: Tensor, bias: Tensor | None, algebra: Algebra) -> Tensor:
    """Multiply every component of x with every component of W, then add up with the algebra's signs."""
    n, out_features = algebra.n, weight.shape[0]
    rows = input.shape[:-1].numel()
    products = F.linear(input.reshape(rows * n, weight.shape[1]), weight).view(rows, n * n, out_features // n)
    output = torch.matmul(_signs(algebra, input.dtype, input.device), products).view(*input.shape[:-1], out_features)
    return output if bias is None else output + bias


@lru_cache
def _signs(algebra: Algebra, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (n, n²) that adds the products of input component j and weight component i up to component k of y."""
    with torch.inference_mode(False):  # the tensor is kept, and training may need it next
        return algebra.constants_tensor(dtype, device).permute(2, 1, 0).reshape(algebra.n, -1)
