"""Operations that move numbers, of floats and of bytes alike."""

import math

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.backends.c.plan import Draft
from fourfold.deploy.backends.c.strided import append, indices, shared, view
from fourfold.deploy.backends.c.text import array, number
from fourfold.deploy.ir.levels import requantized
from fourfold.deploy.ir.ops import Concat, Constant, Reshape
from fourfold.deploy.ir.ops.movement import OUTSIDE, Movement


def add_movement(draft: Draft, operation: Movement) -> None:
    """Append the step of copies whose place along each axis is computed or looked up."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    axes, tables = operation.axes(source.shape), ""
    places, inside = ["0"] * len(source.shape), []
    names = indices(len(target.shape))
    for name, axis in zip(names, axes, strict=True):
        place = _progression(name, axis.places)
        if place is None:
            table = f"@places_{name}"
            tables += array("int32_t", table, axis.places)
            place = f"{table}[{name}]"
            if (axis.places == OUTSIDE).any():
                inside.append(f"{place} >= 0")
        places[axis.source] = place
    value = f"x[{source.at(*places)}]"
    if inside:
        outside = number(operation.outside) if draft.quantized is None else str(operation.outside_level(draft.quantized))
        value = f"{' && '.join(inside)} ? {value} : {outside}"
    append(draft, operation, shared(names, target.shape, [f"y[{target.at(*names)}] = {value};"]), tables=tables)


def _progression(name: str, places: NDArray[np.int64]) -> str | None:
    """Return the C of places at equal distances, or None."""
    start, step = int(places[0]), int(places[1] - places[0]) if len(places) > 1 else 1
    if (places == OUTSIDE).any() or not np.array_equal(places, start + step * np.arange(len(places))):
        return None
    scaled = name if step == 1 else f"{step} * {name}"
    return scaled if start == 0 else f"{start} + {scaled}"


def add_reshape(draft: Draft, operation: Reshape) -> None:
    """Let the value be the input's own buffer where both lie alike, else append a step that copies it."""
    before, after = draft.planes[operation.inputs[0]], draft.planes[operation.output]
    alike = (before.pitch, before.origin, before.length, before.channels) == (
        after.pitch,
        after.origin,
        after.length,
        after.channels,
    )
    if (before.compact and after.compact) or (alike and before.height == after.height):
        draft.buffers[operation.output] = draft.buffers[operation.inputs[0]]
        return
    target = view(draft, operation.output)
    names = indices(len(target.shape))
    sizes = [math.prod(target.shape[axis + 1 :]) for axis in range(len(target.shape))]
    flat = " + ".join(f"{name} * {size}" if size > 1 else name for name, size in zip(names, sizes, strict=True))
    pixels, width = before.height * before.width, before.width
    lines = [f"const int at = {flat};"]
    place = f"at / {pixels} * {before.length} + {before.origin} + at % {pixels} / {width} * {before.pitch} + at % {width}"
    append(draft, operation, shared(names, target.shape, [*lines, f"y[{target.at(*names)}] = x[{place}];"]))


def add_concat(draft: Draft, operation: Concat) -> None:
    """Append a step for each input, which puts it at its place; in int8 in the output's scale."""
    target, start = view(draft, operation.output), 0
    for value in operation.inputs:
        source, tables, element = view(draft, value), "", "x[{}]"
        if draft.quantized is not None:
            before, after = draft.quantized.levels[value], draft.quantized.levels[operation.output]
            if before != after:
                tables, element = array("uint8_t", "@table", requantized(before, after)), "@table[x[{}]]"
        names = indices(len(source.shape))
        places = [f"{name} + {start}" if axis == operation.axis and start else name for axis, name in enumerate(names)]
        lines = [f"y[{target.at(*places)}] = {element.format(source.at(*names))};"]
        first = start if operation.axis == 0 else 0
        append(draft, operation, shared(names, source.shape, lines), tables=tables, reads=(value,), first_channel=first)
        start += source.shape[operation.axis]


def add_constant(draft: Draft, operation: Constant) -> None:
    """Append the step that copies a constant."""
    target = view(draft, operation.output)
    names = indices(len(target.shape))
    sizes = [math.prod(target.shape[axis + 1 :]) for axis in range(len(target.shape))]
    flat = " + ".join(f"{name} * {size}" if size > 1 else name for name, size in zip(names, sizes, strict=True))
    if draft.quantized is None:
        tables = array("float", "@numbers", operation.numbers)
    else:
        tables = array("uint8_t", "@numbers", operation.codes(draft.quantized))
    append(draft, operation, shared(names, target.shape, [f"y[{target.at(*names)}] = @numbers[{flat}];"]), tables=tables)
