"""Where the numbers of every value lie: planes with zeros around the map, and buffers that share one arena."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fourfold.deploy.ir.operation import Shape
from fourfold.deploy.ir.ops import Convolution
from fourfold.deploy.ir.program import Program

ALIGNMENT = 64
"""Bytes of a cache line, at whose multiples buffers begin."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """How the maps of one value lie in its buffer: a channel after the other, each in rows of `pitch` numbers.

    The gap between the rows' ends and their pitch holds the zeros to the right of one row and to the left of the next.
    """

    channels: int
    height: int
    width: int
    pitch: int
    origin: int
    """Numbers of a channel before its first pixel: zeros above the map and left of it."""
    length: int
    """Numbers of a channel in all."""

    @staticmethod
    def of_map(channels: int, height: int, width: int) -> "Plane":
        """Return the plane of maps with nothing around them."""
        return Plane(channels=channels, height=height, width=width, pitch=width, origin=0, length=height * width)

    @property
    def span(self) -> int:
        """Numbers from the first pixel to the last."""
        return (self.height - 1) * self.pitch + self.width

    @property
    def size(self) -> int:
        """Numbers of all channels."""
        return self.channels * self.length

    @property
    def compact(self) -> bool:
        """Whether the pixels of all channels follow each other with nothing between."""
        return self.length == self.height * self.width


@dataclass
class Margins:
    """Zeros that the convolutions of a value need around it."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def grow(self, padding: tuple[int, int, int, int]) -> None:
        """Make room for a convolution's padding too."""
        top, bottom, left, right = padding
        self.top, self.bottom = max(self.top, top), max(self.bottom, bottom)
        self.left, self.right = max(self.left, left), max(self.right, right)


def as_map(shape: Shape) -> tuple[int, int, int]:
    """Return the first axis of a value, those between, and the last; a vector has a channel for each feature."""
    return (shape[0], 1, 1) if len(shape) == 1 else (shape[0], math.prod(shape[1:-1]), shape[-1])


def slides(operation: Convolution) -> bool:
    """Whether a convolution reads its input where it lies: each step to the right is one number further."""
    return operation.stride == (1, 1)


def beyond(operation: Convolution) -> tuple[int, int]:
    """Return the rows and columns that a convolution reads beyond those of its output, in steps of its stride."""
    kernel = operation.product.weight.shape[3:]
    rows, columns = (
        (size - 1) * dilation // stride
        for size, dilation, stride in zip(kernel, operation.dilation, operation.stride, strict=True)
    )
    return rows, columns


def lay_out(program: Program) -> list[Plane]:
    """Return the plane of every value.

    A convolution of stride 1 treats a plane as one long row, in which an output stands at a fixed distance from its inputs;
    so its output has the pitch of its input, and what it computes for the gap is wiped afterwards.
    """
    margins = [Margins() for _ in program.shapes]
    same_pitch = list(range(len(program.shapes)))  # the first value of the chain that a value belongs to
    gaps = [0] * len(program.shapes)
    for operation in program.operations:
        if isinstance(operation, Convolution) and not slides(operation):
            gaps[operation.output] = beyond(operation)[1]
        elif isinstance(operation, Convolution):
            margins[operation.inputs[0]].grow(operation.padding)
            joined, into = same_pitch[operation.output], same_pitch[operation.inputs[0]]
            same_pitch = [into if first == joined else first for first in same_pitch]
    pitches: dict[int, int] = {}
    for shape, margin, gap, first in zip(program.shapes, margins, gaps, same_pitch, strict=True):
        pitches[first] = max(pitches.get(first, 1), as_map(shape)[2] + max(margin.left, margin.right, gap))
    return [
        plane(shape, pitches[first], margin) for shape, margin, first in zip(program.shapes, margins, same_pitch, strict=True)
    ]


def plane(shape: Shape, pitch: int, margin: Margins) -> Plane:
    """Return the plane of a value with a pitch and zeros around it."""
    channels, height, width = as_map(shape)
    origin = margin.top * pitch + margin.left
    length = origin + (height - 1) * pitch + width + margin.bottom * pitch + margin.right
    return Plane(channels=channels, height=height, width=width, pitch=pitch, origin=origin, length=length)


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """From the step that fills a buffer to the last that reads it."""

    size: int
    """Bytes."""
    first: int
    last: int


def place(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Return each buffer's offset in the arena, in bytes, and the arena's size.

    The largest buffers are placed first, each at the lowest offset where nothing that lives at the same time lies.
    """
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    for index in sorted(range(len(lifetimes)), key=lambda index: -lifetimes[index].size):
        mine = lifetimes[index]
        others = [other for other in placed if lifetimes[other].first <= mine.last and mine.first <= lifetimes[other].last]
        offset = 0
        for other in sorted(others, key=lambda other: offsets[other]):
            if offset + mine.size <= offsets[other]:
                break
            offset = max(offset, _aligned(offsets[other] + lifetimes[other].size))
        offsets[index] = offset
        placed.append(index)
    return offsets, max((_aligned(offset + buffer.size) for offset, buffer in zip(offsets, lifetimes, strict=True)), default=0)


def _aligned(size: int) -> int:
    return math.ceil(size / ALIGNMENT) * ALIGNMENT
