"""A program run by numpy alone, in float64: slow and right, the oracle of everything faster."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fourfold.data.encoding import GREY
from fourfold.deploy.program import (
    Add,
    Affine,
    Array,
    AveragePool,
    Convolution,
    Encoding,
    Flatten,
    Linear,
    MaxPool,
    Operation,
    Product,
    Program,
    Relu,
    Shape,
)
from fourfold.deploy.shapes import encoded_shape, window_margins, window_places
from fourfold.record.errors import UserError

Values = NDArray[np.float64]
"""Of a few images: (N, channels, height, width) or (N, features)."""

IMAGES_AT_A_TIME = 16

MOST_UNROLLED = 2**25
"""Numbers of a convolution's windows that are unrolled at once: 256 MiB."""


def run(program: Program, images: Array) -> Array:
    """Return the network's outputs for images as its value 0 is: (N, *shapes[0]) → (N, *shapes[-1]), float32.

    Raises:
        UserError: images of another shape.
    """
    images = np.asarray(images)
    if images.shape[1:] != program.shapes[0]:
        raise UserError(f"`images` of shape {images.shape} must be (N, {', '.join(map(str, program.shapes[0]))})")
    outputs = np.empty((len(images), *program.shapes[-1]), np.float32)
    last = {value: operation for operation in program.operations for value in operation.inputs}
    for start in range(0, len(images), IMAGES_AT_A_TIME):
        chosen = slice(start, start + IMAGES_AT_A_TIME)
        values: dict[int, Values] = {0: images[chosen].astype(np.float64)}
        for operation in program.operations:
            values[operation.output] = apply(operation, *(values[value] for value in operation.inputs))
            for value in {value for value in operation.inputs if last[value] is operation}:
                del values[value]
        outputs[chosen] = values[program.operations[-1].output]
    return outputs


def encode(encoding: Encoding, images: NDArray[np.uint8]) -> Array:
    """Return images as a network sees them: uint8 (N, H, W, C) → float32 (N, channels, height, width).

    Raises:
        UserError: images of another type or shape.
    """
    channels, height, width = encoding.shape
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels):
        raise UserError(
            f"`images` of type {images.dtype} and shape {images.shape} must be uint8 (N, {height}, {width}, {channels})"
        )
    mean, std = (np.array(numbers, np.float64)[:, None, None] for numbers in (encoding.mean, encoding.std))
    colours = (images.transpose(0, 3, 1, 2) / 255 - mean) / std
    if encoding.kind == "pixels":
        numbers = colours.reshape(len(images), channels, height, width // encoding.n, encoding.n)
        colours = numbers.transpose(0, 4, 1, 2, 3)
    encoded = np.zeros((len(images), *encoded_shape(encoding)), np.float32)
    if encoding.kind == "pixels":
        encoded[:] = colours.reshape(encoded.shape)
    else:
        encoded[:, :channels] = colours
    if encoding.kind == "grey":
        encoded[:, channels] = np.einsum("nchw,c->nhw", colours, np.array(GREY))
    return encoded


def real_matrix(product: Product) -> Array:
    """Return the real weights of a product, zeros and all: (out, in / groups, *kernel)."""
    weight = product.weight
    return np.concatenate([np.concatenate([sign * weight[c] for c, sign in row], axis=1) for row in product.table])


def apply(operation: Operation, *inputs: Values) -> Values:
    """Return what an operation makes of a few images."""
    output: Values = _APPLY[type(operation)](operation, *inputs)
    if getattr(operation, "relu", False):
        np.maximum(output, 0, out=output)
    return output


def _convolution(operation: Convolution, x: Values) -> Values:
    top, bottom, left, right = operation.padding
    (row_step, column_step), (row_gap, column_gap) = operation.stride, operation.dilation
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    weight = real_matrix(operation.product).astype(np.float64)
    outputs, inputs, height, width = weight.shape
    spans = row_gap * (height - 1) + 1, column_gap * (width - 1) + 1
    windows = sliding_window_view(padded, spans, axis=(2, 3))[:, :, ::row_step, ::column_step, ::row_gap, ::column_gap]
    images, _, rows, columns = windows.shape[:4]
    groups = operation.groups
    by_group = weight.reshape(groups, outputs // groups, -1)
    if windows.size <= MOST_UNROLLED:
        unrolled = windows.transpose(0, 1, 4, 5, 2, 3).reshape(images, groups, inputs * height * width, rows * columns)
        y = by_group @ unrolled
    else:  # a place of the kernel after the other
        y = np.zeros((images, groups, outputs // groups, rows * columns))
        by_place = by_group.reshape(groups, outputs // groups, inputs, height, width)
        for row, column in np.ndindex(height, width):
            seen = windows[..., row, column].reshape(images, groups, inputs, rows * columns)
            y += by_place[..., row, column] @ seen
    return _with_bias(y.reshape(images, outputs, rows, columns), operation.product)


def _linear(operation: Linear, x: Values) -> Values:
    return _with_bias(x @ real_matrix(operation.product).astype(np.float64).T, operation.product)


def _with_bias(y: Values, product: Product) -> Values:
    return y if product.bias is None else y + _by_channel(product.bias, y)


def _by_channel(numbers: Array, like: Values) -> Values:
    return numbers.astype(np.float64).reshape(-1, *[1] * (like.ndim - 2))


def _windows(operation: MaxPool | AveragePool, x: Values, outside: float) -> Values:
    """Return all windows of a pooling, (N, C, rows, columns, height, width), with a value for what lies outside the map."""
    row_gap, column_gap = operation.dilation if isinstance(operation, MaxPool) else (1, 1)
    row_step, column_step = operation.stride
    height, width = operation.kernel
    padded = np.pad(x, ((0, 0), (0, 0), *window_margins(operation, x.shape[1:])), constant_values=outside)
    spans = row_gap * (height - 1) + 1, column_gap * (width - 1) + 1
    windows: Values = sliding_window_view(padded, spans, axis=(2, 3))
    return windows[:, :, ::row_step, ::column_step, ::row_gap, ::column_gap]


def window_counts(operation: AveragePool, shape: Shape) -> Values:
    """Return how many places each window of a mean counts: those on the map and, with `count_padding`, those beside it.

    What `ceil` adds beyond the padding never counts.
    """
    counts = []
    for size, kernel, stride, padding in zip(shape[1:], operation.kernel, operation.stride, operation.padding, strict=True):
        margin = padding if operation.count_padding else 0
        starts = np.arange(window_places(size, kernel, stride, padding, 1, operation.ceil)) * stride - padding
        ends = np.minimum(starts + kernel, size + margin)
        counts.append(ends - np.maximum(starts, -margin))
    return np.outer(*counts).astype(np.float64)


def window_sums(operation: AveragePool, x: Values) -> tuple[Values, Values]:
    """Return the sum of each window of a mean, and what to divide it by."""
    return _windows(operation, x, 0).sum((4, 5)), window_counts(operation, x.shape[1:])


def _average_pool(operation: AveragePool, x: Values) -> Values:
    sums, counts = window_sums(operation, x)
    return sums / counts


_APPLY: dict[type[Operation], Callable[..., Any]] = {
    Convolution: _convolution,
    Linear: _linear,
    MaxPool: lambda operation, x: _windows(operation, x, -np.inf).max((4, 5)),
    AveragePool: _average_pool,
    Affine: lambda operation, x: _by_channel(operation.scale, x) * x + _by_channel(operation.shift, x),
    Add: lambda operation, x, y: x + y,
    Relu: lambda operation, x: np.maximum(x, 0),
    Flatten: lambda operation, x: x.reshape(len(x), -1),
}
