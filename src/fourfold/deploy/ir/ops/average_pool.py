"""Average pooling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import LARGEST_SUM, Levels, Sums, cut, fixed_point, levels_for
from fourfold.deploy.ir.operation import Shape, Values
from fourfold.deploy.ir.ops._windows import Pool, window_places, windows
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool(Pool):
    """The mean of each window, as `torch.nn.AvgPool2d`."""

    count_padding: bool = True
    ceil: bool = False

    kind: ClassVar[str] = "average_pool"

    def window_counts(self, shape: Shape) -> Values:
        """Return how many places each window counts: those on the map and, with `count_padding`, those beside it.

        What `ceil` adds beyond the padding never counts.
        """
        counts = []
        for size, kernel, stride, padding in zip(shape[1:], self.kernel, self.stride, self.padding, strict=True):
            margin = padding if self.count_padding else 0
            starts = np.arange(window_places(size, kernel, stride, padding, 1, self.ceil)) * stride - padding
            ends = np.minimum(starts + kernel, size + margin)
            counts.append(ends - np.maximum(starts, -margin))
        return np.outer(*counts).astype(np.float64)

    def compute(self, *inputs: Values) -> Values:
        """Return the mean of each window."""
        (x,) = inputs
        means: Values = windows(self, x, 0).sum((4, 5)) / self.window_counts(x.shape[1:])
        return means

    def levels(self, before: Sequence[Levels], largest: float) -> Levels:
        """Means of what is never negative are not, either."""
        return levels_for(largest, signed=any(levels.zero for levels in before))

    def mean_factor(self, quantized: "Quantized") -> tuple[int, int, int]:
        """Return factor, shift and bits of a mean: level = (Σ (level − zero) · (factor // count) + shift) >> bits.

        Raises:
            UserError: a window's sums do not fit into 32 bits.
        """
        before, after = (quantized.levels[value] for value in (self.inputs[0], self.output))
        window = self.kernel[0] * self.kernel[1]
        if window * before.largest > LARGEST_SUM:
            raise UserError(f"layer {self.name!r} has windows of {window} places, whose sums do not fit into int8's 32 bits")
        factors, shifts, bits = fixed_point([before.scale / after.scale], [after.zero], before.largest)
        return int(factors[0]), int(shifts[0]), bits

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless a window's sums fit."""
        self.mean_factor(quantized)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the mean of each window's levels, in integers."""
        (x,) = inputs
        before, after = (quantized.levels[value] for value in (self.inputs[0], self.output))
        sums = windows(self, (x - before.zero).astype(np.float64), 0).sum((4, 5))
        counts = self.window_counts(x.shape[1:])
        factor, shift, bits = self.mean_factor(quantized)
        return cut((sums.astype(np.int64) * (factor // counts.astype(np.int64)) + shift) >> bits, after.largest)
