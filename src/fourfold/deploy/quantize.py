"""int8: how values and weights become whole numbers, exactly, so that every machine gives the same outputs.

A value of levels 0 … L stands for scale · (level − zero): L is 255 for the image and 127 elsewhere, zero is 0 where the value
cannot be negative (behind a ReLU) and the middle otherwise. Weights are −63 … 63 times a scale for each output, which the n
components of a number share because each of its outputs uses all of them. With these widths 255 · (63 + 63) and sums of several
127 · 63 fit into 16 bits, which is what processors without a dot product of bytes are fast at.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy import reference
from fourfold.deploy.bounds import LARGEST_RANGE, SMALLEST_RANGE
from fourfold.deploy.encoding import encoded_terms
from fourfold.deploy.images import as_array, check_images
from fourfold.deploy.program import (
    Add,
    Affine,
    Array,
    AveragePool,
    Convolution,
    Linear,
    Product,
    Program,
    Relu,
)
from fourfold.deploy.ranges import KEEPS_SCALE, RANGES, chosen_ranges, encoded_range, largest_ranges
from fourfold.record.errors import UserError, unknown

WEIGHT_LEVELS = 63
"""Largest whole number of a weight: two products with an 8-bit value then fit into 16 bits."""
IMAGE_LEVELS = 255
VALUE_LEVELS = 127

FRACTION_BITS = 8
"""Behind the point, of an image given in floats before it is cut to levels."""

LARGEST_INPUT = 2**20
"""Beyond which such a number is cut, in units of its last bit."""

LARGEST_SHIFT = 20
"""Bits behind the point of whole-number factors, where there is room for them."""

LARGEST_BIAS = 2**20
"""Of a bias in units of the sums that it is added to."""

LARGEST_SUM = 2**30
"""Of what a factor makes of a value or of a window's sum: half of what 32 bits hold."""

LARGEST_PRODUCTS = 2**31 - 2**29
"""Of a layer's sum of products before its bias comes in."""

Whole = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How a value's levels are to be read: scale · (level − zero), for levels from 0 to `largest`."""

    scale: float
    zero: int
    largest: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """A layer in whole numbers: level = (Σ code · (level − zero) + bias) · factor, cut to a whole number within the levels."""

    product: Product
    """The codes as weights, whole numbers in float32, and no bias."""
    bias: Whole
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
        images = reference.encode(program.encoding, images)
    _check_finite(images)
    if ranges == "max":
        found = largest_ranges(program, images)
    else:
        levels = Quantized(replace(program, ranges=dict.fromkeys(range(len(program.shapes)), 1.0))).levels
        found = chosen_ranges(program, images, ranges, [each.largest - each.zero for each in levels])
    if coded and program.encoding is not None:
        found[0] = encoded_range(program.encoding, program.shapes[0])
    for value, largest in found.items():
        if not largest <= LARGEST_RANGE:
            where = "the images" if value == 0 else f"layer {program.operations[value - 1].name!r}"
            raise UserError(
                f"`images` must be smaller: they make values of {largest:.3g} in {where}, at most {LARGEST_RANGE:g} fits"
            )
    return replace(program, ranges={value: largest if largest >= SMALLEST_RANGE else 0.0 for value, largest in found.items()})


def _check_finite(images: NDArray[Any]) -> None:
    finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
    if not finite.all():
        raise UserError(f"`images` must be finite to calibrate with, but image {int(finite.argmin())} holds NaN or infinity")


class Quantized:
    """A program's values and layers in whole numbers, derived from its weights and ranges alone."""

    def __init__(self, program: Program) -> None:
        missing = [value for value in range(len(program.shapes)) if not np.isfinite(program.ranges.get(value, np.nan))]
        if missing:
            raise UserError(f"`program.ranges` must have a number for each value, but has none for {missing[0]}; calibrate it")
        self.program = program
        self.levels = self._levels_of_values()
        """Of every value. No cached property: that takes a lock, which a fork may leave held."""

    def _levels_of_values(self) -> tuple[Levels, ...]:
        found = [_levels(self.program.ranges[0], signed=True, largest=IMAGE_LEVELS)]
        for operation in self.program.operations:
            before = [found[value] for value in operation.inputs]
            if isinstance(operation, KEEPS_SCALE):
                found.append(before[0])
                continue
            signed = not (getattr(operation, "relu", False) or isinstance(operation, Relu))
            if isinstance(operation, Add | AveragePool):
                signed = signed and any(levels.zero for levels in before)
            found.append(_levels(self.program.ranges[operation.output], signed=signed, largest=VALUE_LEVELS))
        return tuple(found)

    def codes(self, operation: Convolution | Linear) -> Codes:
        """Return a layer in whole numbers; a linear layer at the network's end makes logits, not levels."""
        before, after = self.levels[operation.inputs[0]], self.levels[operation.output]
        bias = _bias(operation)
        product, scale = self._weights(operation)
        n = product.n
        _check_sums(operation, product, before)
        unit = np.tile(scale, n) * before.scale  # by output channel
        if operation is self.program.operations[-1] and isinstance(operation, Linear):
            return Codes(product=product, bias=_whole(bias / unit), factor=_factors(operation, unit))
        factor = unit / after.scale
        whole_bias = _whole(bias / unit + (after.zero + 0.5) / factor)
        return Codes(product=product, bias=whole_bias, factor=_factors(operation, factor))

    def scales(self, operation: Convolution | Linear) -> NDArray[np.float64]:
        """Return what a weight's whole number is multiplied by, (out / n,)."""
        return self._weights(operation)[1]

    def _weights(self, operation: Convolution | Linear) -> tuple[Product, NDArray[np.float64]]:
        before, after = self.levels[operation.inputs[0]], self.levels[operation.output]
        largest = np.abs(_bias(operation)).reshape(operation.product.weight.shape[:2]).max(axis=0)
        # A sum's unit is so large that the bias and the output's zero fit beside the weights, also of a row that has none.
        return quantized_weights(operation.product, np.maximum(largest, after.scale) / (LARGEST_BIAS * before.scale))

    def zero_sums(self, operation: Convolution | Linear, codes: Codes) -> Whole:
        """Return what the zero of the input adds to each sum of code · level: zero · Σ code, by output channel."""
        matrix = reference.real_matrix(codes.product)
        sums: Whole = (self.levels[operation.inputs[0]].zero * matrix.reshape(len(matrix), -1).sum(axis=1)).astype(np.int32)
        return sums


def check_quantized(program: Program) -> None:
    """Raise unless all whole numbers of a calibrated program fit into their bits.

    Raises:
        UserError: weights, ranges or windows are so large, or so far apart, that some do not.
    """
    quantized = Quantized(program)
    if program.encoding is not None:
        image_factors(quantized)
    for operation in program.operations:
        if isinstance(operation, Convolution | Linear):
            quantized.codes(operation)
        elif isinstance(operation, Add | Affine | Relu):
            pointwise_factors(quantized, operation)
        elif isinstance(operation, AveragePool):
            mean_factor(quantized, operation)


def quantized_weights(product: Product, least: NDArray[np.float64]) -> tuple[Product, NDArray[np.float64]]:
    """Return a product's weights as whole numbers from −63 to 63, and the scale of each output number, (out / n,).

    Args:
        product: The weights.
        least: (out / n,): no scale is smaller.
    """
    largest = np.abs(product.weight).max(axis=(0, *range(2, product.weight.ndim)), initial=0)
    scale = np.maximum(largest.astype(np.float64) / WEIGHT_LEVELS, least)
    by_row = scale.reshape(1, -1, *[1] * (product.weight.ndim - 2))
    codes = np.rint(product.weight / by_row).astype(np.float32)
    return Product(weight=codes, bias=None, table=product.table), scale


def fixed_point(factors: Sequence[float], shift_of: Sequence[float], reach: float) -> tuple[Whole, Whole, int]:
    """Return factors and shifts as whole numbers, and the bits behind their point: (Σ factor · x + shift) >> bits.

    Args:
        factors: Real factors.
        shift_of: Real constants; half a unit, for rounding, is added here.
        reach: The largest Σ |x| that a factor meets.

    Raises:
        UserError: the ranges are so far apart that 32 bits do not hold what is made.
    """
    size = reach * max(map(abs, factors), default=0) + max(map(abs, shift_of), default=0) + 1
    if size > LARGEST_SUM:
        raise UserError(f"`ranges` must not ask for factors of {size:.3g} in int8: calibrate with images like those to be seen")
    bits = min(LARGEST_SHIFT, int(np.floor(30 - np.log2(size))))  # of 31, one is left for rounding the factors
    unit = 2.0**bits
    return _whole(np.array(factors) * unit), _whole((np.array(shift_of) + 0.5) * unit), bits


def image_factors(quantized: Quantized) -> tuple[Whole, Whole, int]:
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
    whole, whole_shifts, bits = fixed_point(factors.ravel().tolist(), shifts, reach)
    return whole.reshape(factors.shape), whole_shifts, bits


def pointwise_factors(quantized: Quantized, operation: Add | Affine | Relu) -> tuple[list[Whole], Whole, int]:
    """Return for each input its factors, and the shifts, of one or a number a channel, that make levels of levels."""
    befores, after = [quantized.levels[value] for value in operation.inputs], quantized.levels[operation.output]
    scale, shift = (operation.scale, operation.shift) if isinstance(operation, Affine) else (np.ones(1), np.zeros(1))
    factors = [scale.astype(np.float64) * before.scale / after.scale for before in befores]
    shifts = shift.astype(np.float64) / after.scale + after.zero
    for factor, before in zip(factors, befores, strict=True):
        shifts = shifts - factor * before.zero
    reach = sum(before.largest for before in befores)
    whole, whole_shifts, bits = fixed_point(np.concatenate(factors).tolist(), shifts.tolist(), reach)
    return np.split(whole, len(befores)), whole_shifts, bits


def mean_factor(quantized: Quantized, operation: AveragePool) -> tuple[int, int, int]:
    """Return factor, shift and bits of a mean: level = (Σ (level − zero) · (factor // count) + shift) >> bits."""
    before, after = (quantized.levels[value] for value in (operation.inputs[0], operation.output))
    window = operation.kernel[0] * operation.kernel[1]
    if window * before.largest > LARGEST_SUM:
        raise UserError(f"layer {operation.name!r} has windows of {window} places, whose sums do not fit into int8's 32 bits")
    factors, shifts, bits = fixed_point([before.scale / after.scale], [after.zero], before.largest)
    return int(factors[0]), int(shifts[0]), bits


def _bias(operation: Convolution | Linear) -> NDArray[np.float64]:
    product = operation.product
    given = product.bias
    return np.zeros(product.n * product.weight.shape[1]) if given is None else given.astype(np.float64)


def _check_sums(operation: Convolution | Linear, codes: Product, before: Levels) -> None:
    """Raise unless every sum of codes times levels, or times the input's zero, fits into 32 bits beside a bias."""
    sums = np.abs(codes.weight).astype(np.float64).sum(axis=(0, *range(2, codes.weight.ndim)))  # an output meets each once
    largest = float(sums.max(initial=0)) * (before.largest + before.zero)
    if largest > LARGEST_PRODUCTS:
        raise UserError(f"layer {operation.name!r} has sums up to {largest:.3g}, which do not fit into int8's 32 bits")


def _factors(operation: Convolution | Linear, factors: NDArray[np.float64]) -> Array:
    largest = float(factors.max(initial=0))
    if largest > LARGEST_RANGE:
        raise UserError(f"layer {operation.name!r} has weights and ranges that ask for factors of {largest:.3g} in int8")
    return factors.astype(np.float32)


def _levels(largest_value: float, *, signed: bool, largest: int) -> Levels:
    zero = (largest + 1) // 2 if signed else 0
    return Levels(scale=(largest_value or 1.0) / (largest - zero), zero=zero, largest=largest)


def _whole(numbers: NDArray[np.float64]) -> Whole:
    """Round to 32 bits, with room left for what is added."""
    return np.clip(np.rint(numbers), -(2**30), 2**30).astype(np.int32)
