"""Axes: from values to places, and the few round numbers that are written beside them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Scale:
    """From values to coordinates; linear, or in the logarithm."""

    low: float
    high: float
    at_low: float
    """The coordinate of `low`."""
    at_high: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value; beyond the ends, too."""
        warp: Callable[[float], float] = math.log if self.logarithmic else float
        part = (warp(value) - warp(self.low)) / (warp(self.high) - warp(self.low))
        return self.at_low + part * (self.at_high - self.at_low)


def padded(values: Sequence[float], part: float = 0.06) -> tuple[float, float]:
    """Return the range of some values and a little more, never empty."""
    low, high = min(values), max(values)
    if low == high:
        margin = max(abs(low) * 0.05, 1e-9) if low else 1.0
        return low - margin, high + margin
    return low - part * (high - low), high + part * (high - low)


def log_ticks(low: float, high: float, most: int = 11) -> list[float]:
    """Return 1, 2, 5 times powers of ten within the bounds, or only powers where that would be too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) <= most:
            break
    return ticks


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most so many multiples of 1, 2 or 5 times a power of ten within the bounds."""
    raw = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def tick(label: Any, value: float) -> str:
    """Return a tick's label without zeros that say nothing: `5 %`, not `5.00 %`."""
    number, _, unit = str(label(value)).partition(" ")
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return f"{number} {unit}".strip()
