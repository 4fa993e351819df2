"""Gradients of a layer by its real matrix, where its few products are not accurate or cannot be derived again."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fourfold.algebra import Algebra
from fourfold.nn import cancellation
from fourfold.nn.eager import is_plain_eager

Expanded = Callable[[Tensor, Tensor], Tensor]
"""Computes the same layer without its bias from (input, weight) by the real matrix, for derivatives of derivatives."""


class Reference(NamedTuple):
    """The other way to compute a layer's gradients, and what says when it is taken."""

    expanded: Expanded
    algebra: Algebra
    by_output: Tensor


def differentiable(
    expanded: Expanded, needed: tuple[bool, ...], input: Tensor, weight: Tensor, gradient: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of input and weight by the real matrix, where wanted as functions that autograd can derive again."""
    tensors, create_graph = (input, weight), torch.is_grad_enabled()
    if torch._C._are_functorch_transforms_active():
        _, pull_back = torch.func.vjp(expanded, *tensors)[:2]
        by_input, by_weight = pull_back(gradient)
        return by_input if needed[0] else None, by_weight if needed[1] else None
    if not create_graph:
        tensors = input.detach().requires_grad_(needed[0]), weight.detach().requires_grad_(needed[1])
    targets = [tensor for tensor, needs in zip(tensors, needed, strict=False) if needs]
    if not targets:
        return None, None
    with torch.enable_grad():
        output = expanded(*tensors)
    gradients = iter(torch.autograd.grad(output, targets, gradient, create_graph=create_graph))
    return next(gradients) if needed[0] else None, next(gradients) if needed[1] else None


def by_matrix(reference: Reference, needed: tuple[bool, ...], x: Tensor, gradient: Tensor) -> bool:
    """Whether the gradients by input and weight are to be those of the real matrix.

    It is asked to derive again, or from several gradients at a time, or the products would not be accurate.
    """
    if torch.is_grad_enabled() or not is_plain_eager(gradient):
        return True
    algebra, (needs_input, needs_weight, *_) = reference.algebra, needed
    if needs_input and not cancellation.of_input_gradient_is_kept(gradient, reference.by_output, algebra):
        return True
    return needs_weight and not cancellation.of_weight_gradient_is_kept(x, gradient, algebra)
