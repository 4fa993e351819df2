"""Linear layers of an algebra by their expanded matrix in native code: forward and both gradients (`native/linear.c`).

The matrix is expanded where it is used and never differentiated by PyTorch, and the products are faster than those of MKL
on processors that it was not written for.
"""

import ctypes
import threading
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from fourfold.algebra import Algebra
from fourfold.native import linear as native
from fourfold.native.perceptron import CAlgebra
from fourfold.nn.eager import is_plain_eager
from fourfold.nn.matrix_gradients import Expanded, differentiable

MINIMUM_ROWS = 24
"""Rows below which the columns of the kernels' tiles would be empty."""

MOST_ENTRIES = 1_000_000
"""Of the real matrix, above which its expansion is cheap beside the products, and so is what these kernels save."""


def pays(rows: int, weight: Tensor, algebra: Algebra) -> bool:
    """Whether these kernels know a layer, and are faster than torch's product: in training, on one thread, in float32.

    Args:
        rows: Of the input, as a matrix.
        weight: (outputs, inputs / n).
        algebra: Of the layer, fixed.
    """
    if not torch.is_grad_enabled() or rows < MINIMUM_ROWS or weight.numel() * algebra.n > MOST_ENTRIES:
        return False
    return weight.dtype == torch.float32 and torch.get_num_threads() == 1 and native.available()


def linear(input: Tensor, weight: Tensor, bias: Tensor | None, algebra: Algebra, expanded: Expanded) -> Tensor:
    """Return W·x + b for (rows, inputs), where it `pays`; `expanded` is the same without the bias, by torch."""
    output: Tensor = _NativeLinear.apply(input, weight, bias, algebra, expanded)  # type: ignore[no-untyped-call]
    return output


class _NativeLinear(torch.autograd.Function):
    """Keeps the input and the stored weight for backward, nothing else."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, algebra: Algebra, expanded: Expanded) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.algebra, ctx.expanded = algebra, expanded
        return multiply(algebra, x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled() or not is_plain_eager(gradient):
            gradients = differentiable(ctx.expanded, ctx.needs_input_grad, x, weight, gradient)
            return *gradients, gradient.sum(0) if ctx.needs_input_grad[2] else None, None, None
        return *multiply_backward(ctx.algebra, x, weight, gradient, ctx.needs_input_grad[:3]), None, None


def multiply(algebra: Algebra, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return W·x + b, float32: (rows, inputs), (outputs, inputs / n), (outputs,) → (rows, outputs)."""
    output = x.new_empty(len(x), len(weight))
    _call("linear_forward", algebra, (*x.shape, len(weight)), x, weight, bias, output)
    return output


def multiply_backward(
    algebra: Algebra, x: Tensor, weight: Tensor, gradient: Tensor, needed: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients by x, by the weight and by the bias, those that are needed, from that by the output."""
    by_input = x.new_empty(x.shape) if needed[0] else None
    by_weight = weight.new_empty(weight.shape) if needed[1] else None
    by_bias = weight.new_empty(len(weight)) if needed[2] else None
    _call("linear_backward", algebra, (*x.shape, len(weight)), x, weight, gradient, by_input, by_weight, by_bias)
    return by_input, by_weight, by_bias


def _call(function: str, algebra: Algebra, sizes: tuple[int, ...], *tensors: Tensor | None) -> None:
    """Call a function of the native code with tensors, made contiguous, and a workspace."""
    kernels, described = native.kernels(), _described(algebra).pointer
    workspace = _workspace(kernels.linear_room(described, *sizes))
    arguments = [
        None if tensor is None else tensor.contiguous() for tensor in (*tensors, workspace)
    ]  # kept alive until it returns
    getattr(kernels, function)(described, *sizes, *(None if tensor is None else tensor.data_ptr() for tensor in arguments))


def _workspace(floats: int) -> Tensor:
    """Return float32 (at least `floats`,) of anything, the same memory for every call of a thread.

    Fresh memory of a megabyte has its pages handed out by the system one by one, which would take as long as the product.
    """
    known: Tensor | None = getattr(_WORKSPACES, "tensor", None)
    if known is None or len(known) < floats:
        with torch.inference_mode(False):
            known = _WORKSPACES.tensor = torch.empty(floats, dtype=torch.float32, device="cpu")
    return known


_WORKSPACES = threading.local()


class _Described:
    """An algebra as the native code takes it."""

    def __init__(self, algebra: Algebra) -> None:
        entries = [[sign * (component + 1) for component, sign in row] for row in algebra.left_table]
        self._table = torch.tensor(entries, dtype=torch.int32, device="cpu")
        table = self._table.data_ptr() if algebra.n > 1 else None  # a real weight is the matrix
        self.pointer = ctypes.pointer(CAlgebra(1, 1, None, None, None, algebra.n, table))


_described = lru_cache(_Described)
