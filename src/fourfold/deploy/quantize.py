"""int8: how values and weights become integers, exactly, so that every machine gives the same outputs.

A value of levels 0 … L stands for scale · (level − zero): L is 255 for the image and 127 elsewhere, zero is 0 where the value
cannot be negative (behind a ReLU) and the middle otherwise. Weights are −63 … 63 times a scale for each output, which the n
components of a number share because each of its outputs uses all of them. With these widths 255 · (63 + 63) and sums of several
127 · 63 fit into 16 bits, which is what processors without a dot product of bytes are fast at.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.images import as_array, check_images
from fourfold.deploy.ir.bounds import LARGEST_RANGE, SMALLEST_RANGE
from fourfold.deploy.ir.encoding import encode, encoded_terms
from fourfold.deploy.ir.levels import IMAGE_LEVELS, INDICES, Int32, Levels, fixed_point, levels_for, to_int32
from fourfold.deploy.ir.operation import Array, Operation
from fourfold.deploy.ir.ops import Embedding, Linear, Recurrent
from fourfold.deploy.ir.ops._gates import GATE_ZERO, GATES, SIGMOID_UNITS, TANH_UNITS, WITH_TANH
from fourfold.deploy.ir.product import Product, ProductOperation, real_matrix
from fourfold.deploy.ir.program import Program
from fourfold.deploy.ranges import RANGES, chosen_ranges, encoded_range, largest_ranges
from fourfold.record.errors import UserError, unknown

WEIGHT_LEVELS = 63
"""Largest integer of a weight: two products with an 8-bit value then fit into 16 bits."""

LARGEST_BIAS = 2**20
"""Of a bias in units of the sums that it is added to."""

LARGEST_GATE_BIAS = 2**25
"""The same of a recurrent layer's gates, whose units are finer."""

LARGEST_PRODUCTS = 2**31 - 2**29
"""Of a layer's sum of products before its bias comes in."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """A layer in integers: level = (Σ code · (level − zero) + bias) · factor, cut to an integer within the levels."""

    product: Product
    """The codes as weights, integers in float32, and no bias."""
    bias: Int32
    """(out,): the bias, the output's zero and a half for rounding, in units of the sums."""
    factor: Array
    """(out,)."""


def calibrate(program: Program, images: Any, *, ranges: str = "max") -> Program:
    """Return the program with the range of every value, by what it takes for some images.

    The range of an image given in bytes is that of its encoding, whatever the images are.

    Args:
        program: A network in float32.
        images: Like those that it will see: uint8 (N, H, W, C), to be encoded, or (N, channels, height, width). A hundred do.
        ranges: `max`, the largest number of each value; `percentile`, that which 99.99 % of them stay below; or `mse`, the one
            with the least squared error of rounding and cutting. Where single pixels are far from all others, `percentile`.

    Raises:
        UserError: unknown `ranges`; no images, images of another type or shape, or some that are not finite; values that
            overflow.
    """
    if ranges not in RANGES:
        raise unknown("ranges", ranges, RANGES)
    images = as_array(images)
    coded = check_images(images, program.shapes[0], program.encoding)
    if not len(images):
        raise UserError("`images` (=0 of them) must be at least one, to calibrate with")
    if coded:
        assert program.encoding is not None
        images = encode(program.encoding, images)
    _check_finite(images)
    if ranges == "max":
        measured = largest_ranges(program, images)
    else:
        levels = Quantized(replace(program, ranges=dict.fromkeys(range(len(program.shapes)), 1.0))).levels
        measured = chosen_ranges(program, images, ranges, [each.largest - each.zero for each in levels])
    if coded and program.encoding is not None:
        measured[0] = encoded_range(program.encoding, program.shapes[0])
    for value, largest in measured.items():
        if not largest <= LARGEST_RANGE:
            where = "the images" if value == 0 else f"layer {program.operations[value - 1].name!r}"
            raise UserError(
                f"`images` must be smaller: they make values of {largest:.3g} in {where}, at most {LARGEST_RANGE:g} fits"
            )
    return replace(
        program, ranges={value: largest if largest >= SMALLEST_RANGE else 0.0 for value, largest in measured.items()}
    )


def _check_finite(images: NDArray[Any]) -> None:
    finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
    if not finite.all():
        raise UserError(f"`images` must be finite to calibrate with, but image {int(finite.argmin())} holds NaN or infinity")


class Quantized:
    """A program's values and layers in integers, derived from its weights and ranges alone."""

    def __init__(self, program: Program) -> None:
        missing = [value for value in range(len(program.shapes)) if not np.isfinite(program.ranges.get(value, np.nan))]
        if missing:
            raise UserError(f"`program.ranges` must have a number for each value, but has none for {missing[0]}; calibrate it")
        self.program = program
        self.levels = self._levels_of_values()
        """Of every value. No cached property: that takes a lock, which a fork may leave held."""

    def _levels_of_values(self) -> tuple[Levels, ...]:
        looked_up = any(isinstance(operation, Embedding) for operation in self.program.operations)
        levels = [INDICES if looked_up else levels_for(self.program.ranges[0], signed=True, largest=IMAGE_LEVELS)]
        for operation in self.program.operations:
            before = [levels[value] for value in operation.inputs]
            largest = self.program.ranges[operation.output]
            levels.append(before[0] if operation.keeps_scale else operation.levels(before, largest))
        return tuple(levels)

    def makes_logits(self, operation: Operation) -> bool:
        """Return whether an operation makes the network's logits, in floats: a linear layer at its end."""
        return operation is self.program.operations[-1] and isinstance(operation, Linear)

    def codes(self, operation: ProductOperation) -> Codes:
        """Return a layer in integers; a linear layer at the network's end makes logits, not levels.

        A recurrent layer makes gates: the unit of the features is taken into their weights, that of the state into its own, and
        the zeros of both into the bias.
        """
        if isinstance(operation, Recurrent):
            return self._codes_of_gates(operation)
        before, after = self.levels[operation.inputs[0]], self.levels[operation.output]
        bias = _bias(operation)
        product, scale = self._weights(operation)
        n = product.n
        _check_sums(operation, product, before)
        unit = np.tile(scale, n) * before.scale  # by output channel
        if self.makes_logits(operation):
            return Codes(product=product, bias=to_int32(bias / unit), factor=_factors(operation, unit))
        factor = unit / after.scale
        integer_bias = to_int32(bias / unit + (after.zero + 0.5) / factor)
        return Codes(product=product, bias=integer_bias, factor=_factors(operation, factor))

    def _codes_of_gates(self, operation: Recurrent) -> Codes:
        before, state = self.levels[operation.inputs[0]], self.levels[operation.output]
        features = operation.features // operation.product.n
        product, unit = self._weights(operation)
        rows, n = len(unit), product.n
        gate_unit = _gate_units(operation)
        sums = np.abs(product.weight).astype(np.float64).sum(axis=0)
        reach = sums[:, :features].sum(axis=1) * (before.largest + before.zero)
        reach += sums[:, features:].sum(axis=1) * (state.largest + state.zero)
        _check_reach(operation, float(reach.max(initial=0)))
        by_input = real_matrix(product).astype(np.float64).reshape(n * rows, n, -1).sum(axis=1)
        zeros = before.zero * by_input[:, :features].sum(axis=1) + state.zero * by_input[:, features:].sum(axis=1)
        units, factor = np.tile(unit, n), np.tile(unit / gate_unit, n)
        bias = to_int32(_bias(operation) / units + (GATE_ZERO + 0.5) / factor) - zeros.astype(np.int32)
        return Codes(product=product, bias=bias, factor=_factors(operation, factor))

    def scales(self, operation: ProductOperation) -> NDArray[np.float64]:
        """Return what a weight's integer is multiplied by, (out / n,)."""
        return self._weights(operation)[1]

    def _weights(self, operation: ProductOperation) -> tuple[Product, NDArray[np.float64]]:
        before, after = self.levels[operation.inputs[0]], self.levels[operation.output]
        largest = np.abs(_bias(operation)).reshape(operation.product.weight.shape[:2]).max(axis=0)
        if isinstance(operation, Recurrent):
            least = np.maximum(largest, _gate_units(operation) * GATE_ZERO) / LARGEST_GATE_BIAS
            return quantized_weights(_in_units(operation, before.scale, after.scale), least)
        # A sum's unit is so large that the bias and the output's zero fit beside the weights, also of a row that has none.
        return quantized_weights(operation.product, np.maximum(largest, after.scale) / (LARGEST_BIAS * before.scale))

    def zero_sums(self, operation: ProductOperation, codes: Codes) -> Int32:
        """Return what the zero of the input adds to each sum of code · level: zero · Σ code, by output channel."""
        matrix = real_matrix(codes.product)
        sums: Int32 = (self.levels[operation.inputs[0]].zero * matrix.reshape(len(matrix), -1).sum(axis=1)).astype(np.int32)
        return sums


def check_quantized(program: Program) -> None:
    """Raise unless all integers of a calibrated program fit into their bits.

    Raises:
        UserError: weights, ranges or windows are so large, or so far apart, that some do not.
    """
    quantized = Quantized(program)
    if program.encoding is not None:
        image_factors(quantized)
    for operation in program.operations:
        operation.check_int8(quantized)


def quantized_weights(product: Product, least: NDArray[np.float64]) -> tuple[Product, NDArray[np.float64]]:
    """Return a product's weights as integers from −63 to 63, and the scale of each output element, (out / n,).

    Args:
        product: The weights.
        least: (out / n,): no scale is smaller.
    """
    largest = np.abs(product.weight).max(axis=(0, *range(2, product.weight.ndim)), initial=0)
    scale = np.maximum(largest.astype(np.float64) / WEIGHT_LEVELS, least)
    by_row = scale.reshape(1, -1, *[1] * (product.weight.ndim - 2))
    codes = np.rint(product.weight / by_row).astype(np.float32)
    return Product(weight=codes, bias=None, table=product.table), scale


def image_factors(quantized: Quantized) -> tuple[Int32, Int32, int]:
    """Return factors (channels, bytes of a group of pixels) and shifts (channels,) that make levels of an image's bytes."""
    program, levels = quantized.program, quantized.levels[0]
    assert program.encoding is not None
    channels = encoded_terms(program.encoding, program.shapes[0])
    group = program.encoding.shape[0] * (program.encoding.n if program.encoding.kind == "pixels" else 1)
    factors = np.zeros((program.shapes[0][0], group))
    for channel, (_, terms) in enumerate(channels):
        for byte, factor in terms.items():
            factors[channel, byte] = factor / levels.scale
    shifts = [constant / levels.scale + levels.zero for constant, _ in channels]
    reach = 255 * max(len(terms) for _, terms in channels)
    integers, integer_shifts, bits = fixed_point(factors.ravel().tolist(), shifts, reach)
    return integers.reshape(factors.shape), integer_shifts, bits


def _gate_units(operation: Recurrent) -> NDArray[np.float64]:
    """Return the unit of each gate, (out / n,)."""
    units = np.full((GATES[operation.cell], operation.hidden // operation.product.n), 1 / SIGMOID_UNITS)
    units[list(WITH_TANH[operation.cell])] = 1 / TANH_UNITS
    return units.ravel()


def _in_units(operation: Recurrent, feature: float, state: float) -> Product:
    """Return a recurrent layer's weights times the units of what they are multiplied with."""
    product = operation.product
    units = np.full(product.weight.shape[2], state)
    units[: operation.features // product.n] = feature
    return replace(product, weight=(product.weight * units).astype(np.float32))


def _bias(operation: ProductOperation) -> NDArray[np.float64]:
    product = operation.product
    bias = product.bias
    return np.zeros(product.n * product.weight.shape[1]) if bias is None else bias.astype(np.float64)


def _check_sums(operation: ProductOperation, codes: Product, before: Levels) -> None:
    """Raise unless every sum of codes times levels, or times the input's zero, fits into 32 bits beside a bias."""
    sums = np.abs(codes.weight).astype(np.float64).sum(axis=(0, *range(2, codes.weight.ndim)))  # an output meets each once
    _check_reach(operation, float(sums.max(initial=0)) * (before.largest + before.zero))


def _check_reach(operation: ProductOperation, largest: float) -> None:
    if largest > LARGEST_PRODUCTS:
        raise UserError(f"layer {operation.name!r} has sums up to {largest:.3g}, which do not fit into int8's 32 bits")


def _factors(operation: ProductOperation, factors: NDArray[np.float64]) -> Array:
    largest = float(factors.max(initial=0))
    if largest > LARGEST_RANGE:
        raise UserError(f"layer {operation.name!r} has weights and ranges that ask for factors of {largest:.3g} in int8")
    return factors.astype(np.float32)
