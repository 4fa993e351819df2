"""The real matrix of scaled rotations with the gradient written out: a few passes instead of a graph of a hundred nodes.

Every entry of a rotation is a sum of products of two components of q, divided by |q|². So a block of the matrix is
f · T · (q qᵀ), with a constant T (16, 16) and f = s / |q|² for a learned scale s, or f = 1 / |q| for the scale |q|.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fourfold.algebra.checking import without_autocast
from fourfold.nn.eager import is_plain_eager
from fourfold.nn.matrix_gradients import differentiable

Expanded = Callable[[Tensor, Tensor | None], Tensor]
"""The same matrix in plain operations, from quaternions and their scales."""

_ENTRIES = {  # of the block for (r, x, y, z): row, column → the products of components that it sums, with their signs
    (1, 1): "+rr +xx -yy -zz",
    (2, 2): "+rr -xx +yy -zz",
    (3, 3): "+rr -xx -yy +zz",
    (1, 2): "+xy +yx -rz -zr",
    (2, 1): "+xy +yx +rz +zr",
    (1, 3): "+xz +zx +ry +yr",
    (3, 1): "+xz +zx -ry -yr",
    (2, 3): "+yz +zy -rx -xr",
    (3, 2): "+yz +zy +rx +xr",
}
_REAL_PART = {(0, 0): "+rr +xx +yy +zz"}


def _table(entries: dict[tuple[int, int], str]) -> Tensor:
    table = torch.zeros(4, 4, 4, 4, device="cpu", dtype=torch.float64)
    for (row, column), terms in entries.items():
        for term in terms.split():
            first, second = ("rxyz".index(component) for component in term[1:])
            table[row, column, first, second] = float(f"{term[0]}1")
    return table.view(16, 16)


_TABLES = {"carry": _table(_ENTRIES | _REAL_PART), "zero": _table(_ENTRIES)}


def can_rotate(weight: Tensor, scale: Tensor | None) -> bool:
    """Whether `rotations` takes these: ordinary tensors, no quaternion whose square is too small or large but zeros."""
    if not is_plain_eager(weight, scale) or weight.dtype not in (torch.float32, torch.float64) or weight.numel() == 0:
        return False
    limits = torch.finfo(weight.dtype)
    q = weight.detach().reshape(4, -1)
    smallest, largest = (float(bound) for bound in q.square().sum(0).masked_fill(~q.any(0), 1).aminmax())
    return limits.tiny / limits.eps <= smallest and largest <= limits.max * limits.eps


def rotations(weight: Tensor, scale: Tensor | None, groups: int, real_part: str, expanded: Expanded) -> Tensor:
    """Return the real matrix. Shapes: weight (4 · groups · out, in, *kernel), scale (groups · out, in, *kernel) or None."""
    matrix: Tensor = _Rotations.apply(weight, scale, groups, real_part, expanded)  # type: ignore[no-untyped-call]
    return matrix


class _Rotations(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor | None, groups: int, real_part: str, expanded: Expanded) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.groups, ctx.expanded, ctx.table = groups, expanded, _TABLES[real_part].to(weight.dtype)
        q = weight.reshape(4, -1)
        products = (q.unsqueeze(1) * q).view(16, -1)
        with without_autocast("cpu"):  # the layer rounds the matrix, once
            blocks = ctx.table @ products.mul_(_factor(q, scale))
        out, *rest = weight.shape
        blocks = blocks.view(4, 4, groups, out // 4 // groups, *rest).movedim((0, 1), (1, 3))
        matrix: Tensor = blocks.flatten(3, 4).flatten(0, 2)
        return matrix

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        if torch.is_grad_enabled() or not is_plain_eager(gradient):
            if scale is None:
                by_weight, _ = differentiable(
                    lambda weight, _: ctx.expanded(weight, None), (ctx.needs_input_grad[0], False), weight, weight, gradient
                )
                return by_weight, None, None, None, None
            return *differentiable(ctx.expanded, ctx.needs_input_grad, weight, scale, gradient), None, None, None
        q = weight.reshape(4, -1)
        out, *rest = weight.shape
        blocks = gradient.view(ctx.groups, 4, out // 4 // ctx.groups, 4, *rest).movedim((1, 3), (0, 1))
        with without_autocast("cpu"):
            by_products = (ctx.table.t() @ blocks.reshape(16, -1)).view(4, 4, -1)
        by_components = (by_products * q).sum(1)  # T is symmetric in the two components of a product
        by_factor = (by_components * q).sum(0)
        factor, squares = _factor(q, scale), _squares(q)
        decrease = by_factor * factor / squares
        by_q = 2 * factor * by_components - (q * decrease if scale is None else 2 * q * decrease)
        by_scale = None if scale is None else (by_factor / squares).view(scale.shape)
        return by_q.view(weight.shape), by_scale, None, None, None


def _factor(q: Tensor, scale: Tensor | None) -> Tensor:
    return _squares(q).rsqrt() if scale is None else scale.reshape(-1) / _squares(q)


def _squares(q: Tensor) -> Tensor:
    """Return |q|², and 1 for zero, whose block is zero and has no gradient."""
    squares: Tensor = q.square().sum(0)
    return squares.masked_fill(squares == 0, 1)
