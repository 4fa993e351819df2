"""Maps of another size."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.levels import Sums
from fourfold.deploy.ir.operation import Operation, Shape, Values, check_positive, map_of, named
from fourfold.record.errors import UserError, unknown

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

MODES = ("nearest", "bilinear")

SHARE_BITS = 7
"""In int8, of the shares with which two neighbours come in."""

LARGEST_STEP = 1e4
"""Pixels of the input from one of the output to the next."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Resize(Operation):
    """`torch.nn.functional.interpolate` of maps."""

    size: tuple[int, int]
    mode: str
    steps: tuple[float, float]
    """Pixels of the input from one of the output to the next, as float32; between corners if `align_corners`."""
    align_corners: bool = False

    kind: ClassVar[str] = "resize"
    keeps_scale: ClassVar[bool] = True

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return channels and the new size."""
        channels, *_ = map_of(self, inputs[0])
        check_positive(self, size=self.size)
        if self.mode not in MODES:
            raise unknown("mode", self.mode, MODES)
        if not all(0 <= step <= LARGEST_STEP for step in self.steps):
            raise UserError(f"{named(self)} has `steps` (={self.steps}), which must be from 0 to {LARGEST_STEP:g}")
        check("entries", sum(self.size), named(self))
        check("value", channels * math.prod(self.size), named(self))
        return channels, *self.size

    def work(self, output: Shape, *inputs: Shape) -> int:
        """Return four multiply-adds a pixel."""
        return 4 * math.prod(output)

    def neighbours(self, axis: int, size: int) -> tuple[Integers, Integers, NDArray[np.float32]]:
        """Return for each place along rows (0) or columns (1) its two neighbours and the share of the second."""
        step, places = np.float32(self.steps[axis]), np.arange(self.size[axis]).astype(np.float32)
        if self.mode == "nearest":
            first = np.minimum(np.floor(places * step).astype(np.int64), size - 1)
            return first, first, np.zeros(len(first), np.float32)
        at = places * step if self.align_corners else np.maximum((places + np.float32(0.5)) * step - np.float32(0.5), 0)
        first = np.minimum(np.floor(at).astype(np.int64), size - 1)
        return first, np.minimum(first + 1, size - 1), np.clip(at - first, 0, 1).astype(np.float32)

    def compute(self, *inputs: Values) -> Values:
        """Return the weighted mean of four neighbours."""
        (x,) = inputs
        for axis in (0, 1):
            first, second, share = self.neighbours(axis, x.shape[axis + 2])
            shares = share.astype(np.float64).reshape(-1, *[1] * (1 - axis))
            x = np.take(x, first, axis + 2) * (1 - shares) + np.take(x, second, axis + 2) * shares
        return x

    def int8_shares(self, axis: int, size: int) -> tuple[Integers, Integers, Integers]:
        """Return neighbours and the share of the second in units of 2^-7."""
        first, second, share = self.neighbours(axis, size)
        return first, second, np.rint(share.astype(np.float64) * 2**SHARE_BITS).astype(np.int64)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the weighted mean of levels, rounded once."""
        (x,) = inputs
        for axis in (0, 1):
            first, second, share = self.int8_shares(axis, x.shape[axis + 2])
            shares = share.reshape(-1, *[1] * (1 - axis))
            x = np.take(x, first, axis + 2) * (2**SHARE_BITS - shares) + np.take(x, second, axis + 2) * shares
        return (x + (1 << 2 * SHARE_BITS >> 1)) >> 2 * SHARE_BITS
