"""Inputs as elements of n components: how the channels of any input become those of a quaternion network.

Everywhere component k of element j is channel k·M + j of n·M channels: all first components come first, as the layers of
`fourfold.nn` expect them.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from fourfold.data.encoding import GREY
from fourfold.data.resident import interleave
from fourfold.data.trees import Tree, mapped
from fourfold.record.errors import UserError, unknown

Named = Literal["none", "zero", "repeat", "grey", "learned", "pixels"]

Components: TypeAlias = Named | Callable[[Tree, int], Tree]
"""How inputs become elements of n components: a name, or a function of a batch of inputs and n that returns the batch."""

_COLOURS = 3


def check_components(components: Components) -> None:
    """Raise `UserError` if `components` is neither a function nor one of the known names."""
    if not callable(components) and components not in get_args(Named):
        raise unknown("`components`", components, get_args(Named), "or a function of a batch of inputs and n")


def encode(inputs: Tree, n: int, components: Components, axis: int | None) -> Tree:
    """Return normalised inputs as a network of n components takes them; with n = 1 they stay as they are.

    Args:
        inputs: A batch: float32, channels on `axis`.
        n: Dimension of the algebra.
        components: See `Components`. `zero` appends channels of zeros until n divides them; of features, on the last axis,
            each n neighbours become one element. `repeat` gives every channel n times, `grey` appends the grey of red, green
            and blue and zeros, `pixels` makes an element of each n neighbouring pixels of a row. `none` and `learned`
            change nothing.
        axis: Axis of the channels; None where there is none, as for tokens, which stay as they are.

    Raises:
        UserError: a function that returns something else than tensors.
    """
    if n == 1:
        return inputs
    if callable(components):
        return _checked(components(inputs, n))
    if axis is None or components in ("none", "learned"):
        return inputs
    if components == "pixels":
        return interleave(inputs, n)
    if components == "repeat":
        return torch.cat([inputs] * n, dim=axis)
    if components == "grey":
        inputs = torch.cat([inputs, _grey(inputs)], dim=axis)
    added = -inputs.shape[axis] % n
    padded = torch.cat([inputs, _zeros(inputs, axis, added)], dim=axis) if added else inputs
    if axis == 1 and inputs.dim() > 2:
        return padded
    return padded.unflatten(axis, (-1, n)).transpose(axis, axis + 1).flatten(axis)


def check_fit(shape: Tree, n: int, components: Components, axis: int | None) -> None:
    """Check that named components fit items of a shape, a tuple of integers; of trees and of functions nothing is known.

    Raises:
        UserError: they do not, or are unknown.
    """
    check_components(components)
    if n == 1 or callable(components) or components in ("none", "zero"):
        return
    images = axis == 1 and len(shape) == 3
    if components == "pixels" and not (images and shape[-1] % n == 0):
        needs = f"needs images whose width is a multiple of {n}"
    elif components == "grey" and not (axis == 1 and shape[0] == _COLOURS):
        needs = "adds to 3 colour channels"
    elif components == "repeat" and axis is None:
        needs = "needs one tensor of floats or bytes"
    elif components == "learned" and not images:
        needs = "needs images"
    else:
        return
    raise UserError(f"`components` (={components!r}) {needs}, but inputs are of shape {shape}; use 'zero' or a function")


def learned_channels(channels: int, n: int) -> int:
    """Return the channels behind the front end of `learned`: at least one more, and a multiple of n."""
    return n * (channels // n + 1)


def _grey(inputs: Tensor) -> Tensor:
    """Return the weighted sum of red, green and blue, added up as `Resident` does."""
    grey = torch.zeros_like(inputs[:, 0])
    for channel, weight in enumerate(GREY):
        grey.add_(inputs[:, channel], alpha=weight)
    return grey.unsqueeze(1)


def _zeros(inputs: Tensor, axis: int, channels: int) -> Tensor:
    shape = list(inputs.shape)
    shape[axis] = channels
    return inputs.new_zeros(shape)


def _checked(encoded: Tree) -> Tree:
    """Return what a user's function returned, if it is a tree of tensors."""

    def checked(leaf: object) -> Tensor:
        if not isinstance(leaf, Tensor):
            raise UserError(f"`components` must return tensors, and returned {type(leaf).__name__}")
        return leaf

    return mapped(checked, encoded)
