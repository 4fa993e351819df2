"""What sums, scales and ReLUs share: in int8 each is a sum of levels times integer factors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.levels import Int32, Sums, cut, fixed_point
from fourfold.deploy.ir.operation import Operation

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized


@dataclass(frozen=True, kw_only=True, eq=False)
class Pointwise(Operation):
    """Σ scale · x + shift of its inputs, element by element."""

    def scale_and_shift(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a scale and a shift: one, or one a channel."""
        return np.ones(1), np.zeros(1)

    def int8_factors(self, quantized: "Quantized") -> tuple[list[Int32], Int32, int]:
        """Return for each input its factors, the shifts, and the bits behind their point, that make levels of levels.

        Raises:
            UserError: the ranges are too far apart.
        """
        befores, after = [quantized.levels[value] for value in self.inputs], quantized.levels[self.output]
        scale, shift = self.scale_and_shift()
        factors = [scale * before.scale / after.scale for before in befores]
        shifts = shift / after.scale + after.zero
        for factor, before in zip(factors, befores, strict=True):
            shifts = shifts - factor * before.zero
        reach = sum(before.largest for before in befores)
        integers, integer_shifts, bits = fixed_point(np.concatenate(factors).tolist(), shifts.tolist(), reach)
        return np.split(integers, len(befores)), integer_shifts, bits

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless factors and shifts fit."""
        self.int8_factors(quantized)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the sum of levels times factors."""
        factors, shifts, bits = self.int8_factors(quantized)
        channels = (-1, *[1] * (inputs[0].ndim - 2))
        products = [x * factor.reshape(channels) for x, factor in zip(inputs, factors, strict=True)]
        return cut((sum(products) + shifts.reshape(channels)) >> bits, quantized.levels[self.output].largest)
