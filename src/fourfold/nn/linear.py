"""`Linear` in every algebra."""

from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourfold.algebra import Algebra, get
from fourfold.nn import cancellation, few_products, native_linear
from fourfold.nn.base import AlgebraLayer, check_divisible
from fourfold.nn.caching import cached
from fourfold.nn.eager import is_plain_eager
from fourfold.nn.matrix_gradients import Expanded, Reference, differentiable
from fourfold.nn.product_algorithms import PRODUCTS


class Linear(AlgebraLayer, nn.Linear):
    """y = W·x + b, where W is a matrix of algebra elements; `real` is `torch.nn.Linear` to the last bit.

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
        n, weight = self.algebra.n, self.weight
        usable = n > 1 and self.is_product() and few_products.usable(input, weight, self.bias)
        in_features, out_features = weight.shape[1] * n, weight.shape[0]
        if not usable or input.shape[-1:] != (in_features,):
            return F.linear(input, self.expanded(), self.bias)

        rows = input.numel() // in_features
        products = PRODUCTS[input.dtype].get(self.algebra)
        if products is not None and not few_products.linear_pays(rows, in_features, out_features, products):
            products = None
        is_native = products is None and native_linear.pays(rows, weight, self.algebra)
        if products is None and not is_native and not _few_rows(rows, weight):
            return F.linear(input, self.expanded(), self.bias)

        def expanded(input: Tensor, weight: Tensor) -> Tensor:
            return F.linear(input, self._matrix_of(weight))

        flat = input if input.dim() == 2 else input.reshape(rows, in_features)  # no node of the graph for nothing
        if products is not None:
            make = partial(few_products.prepared, products=products)
            matrices, by_input, by_output = cached(self, "products", make, (weight,), (products,))
            if not cancellation.of_output_is_kept(flat, by_input, self.algebra):
                return F.linear(input, self.expanded(), self.bias)
            reference = Reference(expanded, self.algebra, by_output)
            output = few_products.linear(flat, weight, matrices, self.bias, products, reference)
            if not few_products.succeeded(output):
                return F.linear(input, self.expanded(), self.bias)
        elif is_native:
            output = native_linear.linear(flat, weight, self.bias, self.algebra, expanded)
        else:
            output = _Components.apply(flat, weight, self.bias, _signs(self.algebra, input.dtype), expanded)  # type: ignore[no-untyped-call]
        return output if input.dim() == 2 else output.view(*input.shape[:-1], out_features)


def _few_rows(rows: int, weight: Tensor) -> bool:
    """Whether signs are cheaper to apply to the products of the input's components than to the weights, as measured.

    The products of components number rows · n · out, the entries of the real matrix in · out; but the matrix of a small layer
    that only evaluates is kept.
    """
    return rows < weight.shape[1] and (torch.is_grad_enabled() or weight.numel() >= 100_000)


class _Components(torch.autograd.Function):
    """Multiply every component of x with every component of W, then add up with the algebra's signs.

    One function, because so few rows take no longer than the nodes of a graph of many.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, signs: Tensor, expanded: Expanded) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.signs, ctx.expanded = signs, expanded
        rows, (n, pairs) = len(x), signs.shape
        products = (x.reshape(rows * n, -1) @ weight.t()).view(rows, pairs, -1)
        added = torch.matmul(signs, products).view(rows, -1)
        return added if bias is None else added.add_(bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        bias_gradient = gradient.sum(0) if needs_bias else None
        if torch.is_grad_enabled() or not is_plain_eager(gradient):
            gradients = differentiable(ctx.expanded, ctx.needs_input_grad, x, weight, gradient)
            return *gradients, bias_gradient, None, None
        rows, n = len(x), len(ctx.signs)
        of_products = torch.matmul(ctx.signs.t(), gradient.reshape(rows, n, -1)).view(rows * n, -1)
        input_gradient = (of_products @ weight).view(x.shape) if needs_input else None
        weight_gradient = of_products.t() @ x.reshape(rows * n, -1) if needs_weight else None
        return input_gradient, weight_gradient, bias_gradient, None, None


@lru_cache
def _signs(algebra: Algebra, dtype: torch.dtype) -> Tensor:
    """The matrix (n, n²) that adds the products of input component j and weight component i up to component k of y."""
    with torch.inference_mode(False):  # the tensor is kept, and training may need it next
        return algebra.constants_tensor(dtype, "cpu").permute(2, 1, 0).reshape(algebra.n, -1)
