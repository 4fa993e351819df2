"""An int8 program run by numpy: the same whole numbers as the generated C, bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy import reference
from fourfold.deploy.program import (
    Add,
    Affine,
    Array,
    AveragePool,
    Convolution,
    Flatten,
    Linear,
    MaxPool,
    Operation,
    Program,
    Relu,
)
from fourfold.deploy.quantize import FRACTION_BITS, LARGEST_INPUT, Quantized, image_factors, mean_factor, pointwise_factors

Sums = NDArray[np.int64]


def run(program: Program, images: Array | NDArray[np.uint8]) -> Array:
    """Return the logits of a calibrated program: images as `reference.run` takes them, or bytes as `reference.encode` does."""
    quantized = Quantized(program)
    outputs = []
    for start in range(0, len(images), reference.IMAGES_AT_A_TIME):
        chosen = images[start : start + reference.IMAGES_AT_A_TIME]
        values = {0: _first_levels(quantized, chosen)}
        for operation in program.operations:
            inputs = [values[value] for value in operation.inputs]
            values[operation.output] = _APPLY[type(operation)](quantized, operation, *inputs)
        last = program.operations[-1]
        outputs.append(_logits(quantized, last, values[last.output]))
    return np.concatenate(outputs) if outputs else np.empty((0, *program.shapes[-1]), np.float32)


def _first_levels(quantized: Quantized, images: NDArray[Any]) -> Sums:
    return _coded(quantized, images) if images.dtype == np.uint8 else _cut_floats(quantized, images.astype(np.float32))


def _cut(levels: Any, largest: int) -> Sums:
    cut: Sums = np.clip(levels, 0, largest).astype(np.int64)
    return cut


def _cut_floats(quantized: Quantized, images: Array) -> Sums:
    levels = quantized.levels[0]
    fine = np.float32((1 << FRACTION_BITS) / levels.scale) * images.astype(np.float32)
    above = np.where(fine > -LARGEST_INPUT, fine, np.float32(-LARGEST_INPUT))  # NaN, too, becomes the lowest level, as in C
    whole = np.minimum(above, np.float32(LARGEST_INPUT)).astype(np.int64)
    return _cut((whole + (levels.zero << FRACTION_BITS) + (1 << FRACTION_BITS >> 1)) >> FRACTION_BITS, levels.largest)


def _coded(quantized: Quantized, images: NDArray[np.uint8]) -> Sums:
    program = quantized.program
    assert program.encoding is not None
    group = program.encoding.shape[0] * (program.encoding.n if program.encoding.kind == "pixels" else 1)
    pixels = images.reshape(len(images), *program.shapes[0][1:], group).astype(np.int64)
    levels, (factors, shifts, bits) = quantized.levels[0], image_factors(quantized)
    sums = np.einsum("nhwb,cb->nchw", pixels, factors) + shifts[:, None, None]
    return _cut(sums >> bits, levels.largest)


def _product(quantized: Quantized, operation: Convolution | Linear, x: Sums) -> Any:
    codes = quantized.codes(operation)
    zero = quantized.levels[operation.inputs[0]].zero
    # Sums of whole numbers below 2^53 are exact in float64, in whatever order.
    plain = type(operation)(**{**vars(operation), "product": codes.product, "relu": False})
    sums = reference.apply(plain, (x - zero).astype(np.float64)).astype(np.int64)
    by_channel = (-1, *[1] * (sums.ndim - 2))
    sums = sums + codes.bias.reshape(by_channel)
    scaled = sums.astype(np.int32).astype(np.float32) * codes.factor.reshape(by_channel)
    if operation is quantized.program.operations[-1] and isinstance(operation, Linear):
        return np.maximum(scaled, 0) if operation.relu else scaled
    return _cut(scaled, quantized.levels[operation.output].largest)


def _pointwise(quantized: Quantized, operation: Add | Affine | Relu, *inputs: Sums) -> Sums:
    factors, shifts, bits = pointwise_factors(quantized, operation)
    by_channel = (-1, *[1] * (inputs[0].ndim - 2))
    products = [x * factor.reshape(by_channel) for x, factor in zip(inputs, factors, strict=True)]
    return _cut((sum(products) + shifts.reshape(by_channel)) >> bits, quantized.levels[operation.output].largest)


def _largest(quantized: Quantized, operation: MaxPool, x: Sums) -> Sums:
    largest: Sums = reference.apply(operation, x.astype(np.float64)).astype(np.int64)
    return largest


def _mean(quantized: Quantized, operation: AveragePool, x: Sums) -> Sums:
    before, after = (quantized.levels[value] for value in (operation.inputs[0], operation.output))
    sums, counts = reference.window_sums(operation, (x - before.zero).astype(np.float64))
    factor, shift, bits = mean_factor(quantized, operation)
    return _cut((sums.astype(np.int64) * (factor // counts.astype(np.int64)) + shift) >> bits, after.largest)


def _logits(quantized: Quantized, last: Operation, values: Any) -> Array:
    if isinstance(last, Linear):
        logits: Array = values
        return logits
    levels = quantized.levels[last.output]
    numbers: Array = (values - levels.zero).astype(np.float32) * np.float32(levels.scale)
    return numbers


_APPLY: dict[type[Operation], Callable[..., Any]] = {
    Convolution: _product,
    Linear: _product,
    MaxPool: _largest,
    AveragePool: _mean,
    Affine: _pointwise,
    Add: _pointwise,
    Relu: _pointwise,
    Flatten: lambda quantized, operation, x: x.reshape(len(x), -1),
}
