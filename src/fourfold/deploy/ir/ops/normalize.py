"""Layer, group and instance norms, without their scales."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import Sums, cut, fixed_point
from fourfold.deploy.ir.operation import Operation, Shape, Values, named
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

POINT_BITS = 12
"""Behind the point of a normalised number in int8."""

LONGEST = 2**20
"""Numbers of a block in int8: 64 bits hold their squares."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Normalize(Operation):
    """(x − mean) / sqrt(variance + eps) within each of equal blocks of a value, numbers in order; or x / sqrt(mean(x²) + eps).

    In int8, with S = Σ x and Q = Σ x² of levels: (N · x − S) / sqrt(N · Q − S² + eps), the root in integers.
    """

    blocks: int
    eps: float
    center: bool = True
    """Whether the mean is subtracted."""

    kind: ClassVar[str] = "normalize"

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the input."""
        (shape,) = inputs
        if self.blocks < 1 or math.prod(shape) % self.blocks or block_split(shape, self.blocks) is None:
            raise UserError(f"{named(self)} has `blocks` (={self.blocks}), which must divide {shape} from the first axis on")
        if not 0 <= self.eps <= 1:
            raise UserError(f"{named(self)} has `eps` (={self.eps:g}), which must be from 0 to 1")
        return shape

    def work(self, output: Shape, *inputs: Shape) -> int:
        """Return three operations a number."""
        return 3 * math.prod(output)

    def compute(self, *inputs: Values) -> Values:
        """Return normalised numbers."""
        (x,) = inputs
        rows = x.reshape(len(x), self.blocks, -1)
        if self.center:
            rows = rows - rows.mean(axis=2, keepdims=True)
        with np.errstate(all="ignore"):
            normalized: Values = rows / np.sqrt(np.square(rows).mean(axis=2, keepdims=True) + self.eps)
        return normalized.reshape(x.shape)

    def integers(self, quantized: "Quantized") -> tuple[int, int]:
        """Return eps in units of N² levels², and the bits by which a radicand is made finer.

        Raises:
            UserError: blocks are too long.
        """
        before = quantized.levels[self.inputs[0]]
        count = math.prod(quantized.program.shapes[self.inputs[0]]) // self.blocks
        if count > LONGEST:
            raise UserError(f"{named(self)} has blocks of {count} numbers, which must be at most {LONGEST} in int8")
        largest = 2 * (count * before.largest) ** 2
        eps = min(self.eps * (count / before.scale) ** 2, float(2**60))
        finer = max(0, min(16, (61 - max(largest, int(eps)).bit_length()) // 2 * 2))
        return max(round(eps), 1), finer

    def factor(self, quantized: "Quantized") -> tuple[int, int, int]:
        """Return factor, shift and bits that make levels of normalised numbers."""
        after = quantized.levels[self.output]
        count = math.prod(quantized.program.shapes[self.inputs[0]]) // self.blocks
        reach = (math.isqrt(count) + 1) * 2**POINT_BITS
        factors, shifts, bits = fixed_point([2.0**-POINT_BITS / after.scale], [after.zero], reach)
        return int(factors[0]), int(shifts[0]), bits

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless blocks and factors fit."""
        self.integers(quantized)
        self.factor(quantized)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return normalised levels."""
        (x,) = inputs
        eps, finer = self.integers(quantized)
        factor, shift, bits = self.factor(quantized)
        rows = x.reshape(len(x), self.blocks, -1) - quantized.levels[self.inputs[0]].zero
        count = rows.shape[2]
        sums = rows.sum(axis=2, keepdims=True) * int(self.center)
        radicands = count * np.square(rows).sum(axis=2, keepdims=True) - sums**2 + eps
        roots = _integer_root(radicands << finer)
        tops = (count * rows - sums) << (POINT_BITS + finer // 2)
        normalised = np.sign(tops) * (np.abs(tops) // roots)
        return cut((normalised * factor + shift) >> bits, quantized.levels[self.output].largest).reshape(x.shape)


def _integer_root(numbers: Sums) -> Sums:
    roots: Sums = np.vectorize(math.isqrt, otypes=[np.int64])(numbers)
    return roots


def block_split(shape: Shape, blocks: int) -> tuple[int, int] | None:
    """Return how blocks lie in a shape: whole axes before, and into how many parts the axis behind them is cut."""
    for axis, size in enumerate(shape):
        if blocks < size or blocks == 1:
            return (axis, blocks) if size % blocks == 0 else None
        if blocks % size:
            return None
        blocks //= size
    return (len(shape), 1) if blocks == 1 else None
