"""A program run by numpy alone: in float64, slow and right, the oracle of all others; and in int8, bit for bit as the C."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.encoding import encode
from fourfold.deploy.ir.levels import FRACTION_BITS, LARGEST_INPUT, Sums, cut
from fourfold.deploy.ir.operation import IMAGES_AT_A_TIME, Array, Operation, Values, apply
from fourfold.deploy.ir.ops import OPS
from fourfold.deploy.ir.program import Program
from fourfold.deploy.quantize import Quantized, image_factors
from fourfold.record.errors import UserError

EMIT: dict[type[Operation], Callable[..., Values]] = {operation: operation.compute for operation in OPS}
UNSUPPORTED: dict[type[Operation], str] = {}
UNSUPPORTED_INT8: dict[type[Operation], str] = {}
EMIT_INT8: dict[type[Operation], Callable[..., Any]] = {
    operation: operation.compute_int8 for operation in OPS if operation not in UNSUPPORTED_INT8
}
"""Operations that have no references, and why."""

__all__ = ["EMIT", "EMIT_INT8", "UNSUPPORTED", "UNSUPPORTED_INT8", "apply", "encode", "run", "run_int8"]


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
            operands = (values[value] for value in operation.inputs)
            values[operation.output] = apply(operation, *operands, images=len(images[chosen]))
            for value in {value for value in operation.inputs if last[value] is operation}:
                del values[value]
        outputs[chosen] = values[program.operations[-1].output]
    return outputs


def run_int8(program: Program, images: Array | NDArray[np.uint8]) -> Array:
    """Return the logits of a calibrated program: images as `run` takes them, or bytes as `encode` does."""
    quantized = Quantized(program)
    outputs = []
    for start in range(0, len(images), IMAGES_AT_A_TIME):
        chosen = images[start : start + IMAGES_AT_A_TIME]
        values = {0: _first_levels(quantized, chosen)}
        for operation in program.operations:
            inputs = [values[value] for value in operation.inputs]
            result = operation.compute_int8(quantized, *inputs)
            values[operation.output] = result if inputs else np.repeat(result, len(chosen), axis=0)
        last = program.operations[-1]
        outputs.append(_logits(quantized, last, values[last.output]))
    return np.concatenate(outputs) if outputs else np.empty((0, *program.shapes[-1]), np.float32)


def _first_levels(quantized: Quantized, images: NDArray[Any]) -> Sums:
    return _coded(quantized, images) if images.dtype == np.uint8 else _cut_floats(quantized, images.astype(np.float32))


def _cut_floats(quantized: Quantized, images: Array) -> Sums:
    levels = quantized.levels[0]
    fine = np.float32((1 << FRACTION_BITS) / levels.scale) * images.astype(np.float32)
    above = np.where(fine > -LARGEST_INPUT, fine, np.float32(-LARGEST_INPUT))  # NaN, too, becomes the lowest level, as in C
    integers = np.minimum(above, np.float32(LARGEST_INPUT)).astype(np.int64)
    return cut((integers + (levels.zero << FRACTION_BITS) + (1 << FRACTION_BITS >> 1)) >> FRACTION_BITS, levels.largest)


def _coded(quantized: Quantized, images: NDArray[np.uint8]) -> Sums:
    program = quantized.program
    assert program.encoding is not None
    group = program.encoding.shape[0] * (program.encoding.n if program.encoding.kind == "pixels" else 1)
    pixels = images.reshape(len(images), *program.shapes[0][1:], group).astype(np.int64)
    levels, (factors, shifts, bits) = quantized.levels[0], image_factors(quantized)
    sums = np.einsum("nhwb,cb->nchw", pixels, factors) + shifts[:, None, None]
    return cut(sums >> bits, levels.largest)


def _logits(quantized: Quantized, last: Operation, values: Any) -> Array:
    if quantized.makes_logits(last):
        logits: Array = values
        return logits
    levels = quantized.levels[last.output]
    numbers: Array = (values - levels.zero).astype(np.float32) * np.float32(levels.scale)
    return numbers
