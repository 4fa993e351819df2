"""Whitening of a batch in native code, forward and backward in four passes over the maps (`native/whitening.c`).

Maps (N, n, c, S) lie in memory with their positions side by side, as torch has them, or with their numbers side by side, as in
channels last; both are computed where they lie.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fourfold.native import whitening as native
from fourfold.nn.eager import is_plain_eager

Gradients = Callable[..., tuple[Tensor | None, ...]]
"""The gradients by x, Γ and β in torch's operations, from x, Γ, μ, W, eps and the gradient by y."""


def pays(x: Tensor) -> bool:
    """Whether these kernels know a map (N, n, c, S): float32 in plain eager mode on one thread."""
    known = x.dtype == torch.float32 and 1 < x.shape[1] <= native.MOST_COMPONENTS and x.numel() > 0
    return known and is_plain_eager(x) and torch.get_num_threads() == 1 and native.available()


def whiten(
    x: Tensor, gamma: Tensor, beta: Tensor, eps: float, roundings: float, most: float, gradients: Gradients
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return y, μ and V as `whitening_function.whiten` does, or None where float32 is not precise enough.

    Args:
        x: (N, n, c, S).
        gamma: (c, n, n).
        beta: (c, n).
        eps: What is added to the variances.
        roundings: The part of a variance that may be rounding alone.
        most: The ratio of mean squares to the least pivot of V from which float32 is not precise enough.
        gradients: For what is no plain gradient.
    """
    x = _known_layout(x)
    n, numbers = x.shape[1:3]
    mean, covariance = (torch.empty(numbers, *shape, dtype=torch.float64) for shape in ((n,), (n, n)))
    factor, room, y = torch.empty_like(covariance), _room(n * n + n, numbers), torch.empty_like(x)
    small = gamma.detach().float().contiguous(), beta.detach().float().contiguous()
    results = (mean, covariance, factor, room, y)
    arguments = [tensor.data_ptr() for tensor in (x, *small)], [tensor.data_ptr() for tensor in results]
    if not native.kernels().whitening_forward(n, _described(x), *arguments[0], eps, roundings, most, *arguments[1]):
        return None
    return _Whiten.apply(x, gamma, beta, [y], mean, factor, eps, gradients), mean, covariance  # type: ignore[no-untyped-call]


def mix(x: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Return matrix·x + offset for every element, without gradients. Shapes: (N, n, c, S), (c, n, n), (c, n) → as x."""
    x = _known_layout(x)
    result = torch.empty_like(x)
    small = matrix.double().contiguous(), offset.double().contiguous()
    pointers = (tensor.data_ptr() for tensor in (*small, x, result))
    native.kernels().whitening_mix(x.shape[1], _described(x), *pointers)
    return result


class _Whiten(torch.autograd.Function):
    """Gives what was computed already its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        y: list[Tensor],
        mean: Tensor,
        factor: Tensor,
        eps: float,
        gradients: Gradients,
    ) -> Tensor:
        ctx.eps, ctx.gradients = eps, gradients
        ctx.save_for_backward(x, gamma, mean, factor)
        return y.pop()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, mean, factor = ctx.saved_tensors
        if torch.is_grad_enabled() or not is_plain_eager(gradient):
            return *ctx.gradients(x.contiguous(), gamma, mean, factor, ctx.eps, gradient), *[None] * 5
        n, numbers = x.shape[1:3]
        if gradient.stride() != x.stride():
            gradient = torch.empty_like(x).copy_(gradient)
        small = gamma.float().contiguous()
        by_x, by_gamma, by_beta = torch.empty_like(x), torch.empty_like(small), torch.empty_like(small[..., 0])
        room = _room(2 * n * n + 2 * n, numbers)
        pointers = (t.data_ptr() for t in (gradient, x, small, mean, factor, room, by_x, by_gamma, by_beta))
        native.kernels().whitening_backward(n, _described(x), *pointers)
        return by_x, by_gamma.to(gamma.dtype), by_beta.to(gamma.dtype), *[None] * 5


def _known_layout(x: Tensor) -> Tensor:
    """Return a map whose positions, or whose numbers, lie side by side, all places at one distance."""
    images, n, numbers, positions = x.shape
    image, component, number, position = x.stride()
    dense = (images == 1 or image == positions * n * numbers) and (positions == 1 or position == n * numbers)
    if dense and component == numbers and number == 1:
        return x
    return x.contiguous()


def _described(x: Tensor) -> Any:
    images, _, numbers, positions = x.shape
    image, component, number, position = x.stride()
    if positions == 1:  # whatever torch says of an axis of one
        number, position = 1, image
    return ctypes.byref(native.CMap(images, numbers, positions, image, component, number, position))


def _room(entries: int, numbers: int) -> Tensor:
    return torch.empty(entries * numbers, dtype=torch.float64)
