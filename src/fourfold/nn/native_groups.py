"""Layer, group and instance norm of elements in native code, forward and backward (`native/groups.c`), in both layouts."""

import ctypes
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fourfold.native import groups as native
from fourfold.nn.components import channels_last
from fourfold.nn.eager import is_plain_eager

Reference = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
"""The norm in torch's operations, of x, the weight of each element and the bias of each channel."""


def pays(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> bool:
    """Whether these kernels know an input and its parameters: float32 in plain eager mode on one thread."""
    tensors = [tensor for tensor in (x, weight, bias) if tensor is not None]
    known = x.numel() > 0 and all(tensor.dtype == torch.float32 for tensor in tensors)
    return known and is_plain_eager(*tensors) and torch.get_num_threads() == 1 and native.available()


def norm(
    x: Tensor, components: int, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, reference: Reference
) -> Tensor:
    """Return the elements of every group with mean 0 and variance 1, scaled and shifted.

    Args:
        x: (N, C, *size), channels blocked by component.
        components: n of the algebra.
        groups: Into which the C / n elements are cut.
        weight: (C / n,) or None.
        bias: (C,) or None.
        eps: Added to the variance.
        reference: For what is no plain gradient.
    """
    x = x if channels_last(x) is not None else x.contiguous()
    parameters = [None if tensor is None else tensor.detach().contiguous() for tensor in (weight, bias)]
    described, images, channels = _described(x, components, groups), len(x), x.shape[1]
    mean, scale = x.new_empty(images, components, groups), x.new_empty(images, groups)
    y, arguments = torch.empty_like(x), [_address(tensor) for tensor in (x.detach(), *parameters)]
    if _in_rows(described):
        results = [_address(tensor) for tensor in (mean, scale, y)]
        native.kernels().rows_forward(images, components, described.numbers, *arguments, eps, *results)
    else:
        room = torch.empty(4 * channels, dtype=torch.float64)
        results = [_address(tensor) for tensor in (mean, scale, room, y)]
        native.kernels().groups_forward(ctypes.byref(described), *arguments, eps, *results)
    normed: Tensor = _Norm.apply(x, weight, bias, [y], mean, scale, described, reference)  # type: ignore[no-untyped-call]
    return normed


class _Norm(torch.autograd.Function):
    """Gives what was computed already its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        y: list[Tensor],
        mean: Tensor,
        scale: Tensor,
        described: native.CGroups,
        reference: Reference,
    ) -> Tensor:
        ctx.described, ctx.reference = described, reference
        ctx.save_for_backward(x, weight, bias, mean, scale)
        return y.pop()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled() or not is_plain_eager(gradient):
            return *_differentiable(ctx.reference, ctx.needs_input_grad, (x, weight, bias), gradient), *[None] * 5
        if gradient.stride() != x.stride():
            gradient = torch.empty_like(x).copy_(gradient)
        by_x = torch.empty_like(x)
        by_weight, by_bias = (None if tensor is None else torch.empty_like(tensor) for tensor in (weight, bias))
        sizes, kept = ctx.described, None if weight is None else weight.contiguous()
        room = torch.empty(5 * x.shape[1] + sizes.numbers, dtype=torch.float64)
        addresses = map(_address, (gradient, x, kept, mean, scale, room, by_x, by_weight, by_bias))
        if _in_rows(sizes):
            native.kernels().rows_backward(sizes.images, sizes.components, sizes.numbers, *addresses)
        else:
            native.kernels().groups_backward(ctypes.byref(sizes), *addresses)
        return by_x, by_weight, by_bias, *[None] * 5


def _differentiable(
    reference: Reference, needed: tuple[bool, ...], inputs: tuple[Tensor, Tensor | None, Tensor | None], gradient: Tensor
) -> list[Tensor | None]:
    """Return the gradients with a graph of their own, for second derivatives and batches of gradients."""
    with torch.enable_grad():
        y = reference(*inputs)
    targets = [tensor for tensor, need in zip(inputs, needed, strict=False) if need and tensor is not None]
    gradients = iter(torch.autograd.grad(y, targets, gradient, create_graph=torch.is_grad_enabled()))
    return [next(gradients) if need else None for _, need in zip(inputs, needed, strict=False)]


def _in_rows(sizes: native.CGroups) -> bool:
    """Whether all of an input's row is one group, as in a layer norm."""
    return bool(sizes.positions == sizes.groups == 1)


def _described(x: Tensor, components: int, groups: int) -> native.CGroups:
    images, channels, *size = x.shape
    positions = math.prod(size)
    by_channel = positions == 1 or channels_last(x) is not None
    return native.CGroups(images, components, channels // components, groups, positions, by_channel)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
