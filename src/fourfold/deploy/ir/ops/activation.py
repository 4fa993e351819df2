"""Functions of single numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import Levels, Sums, levels_for, nearest
from fourfold.deploy.ir.operation import Operation, Shape, Values, named
from fourfold.record.errors import UserError, unknown

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

LARGEST_SETTING = 1e6
"""Of `alpha` and `beta`."""

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Values) -> Values:
    small: Values = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def _softplus(x: Values, a: float, b: float) -> Values:
    """log(1 + exp(a · x)) / a, and x beyond the threshold b."""
    return np.where(a * x > b, x, np.logaddexp(0, a * x) / a)


Function = Callable[[Values, float, float], Any]

FUNCTIONS: dict[str, Function] = {
    "sigmoid": lambda x, a, b: _sigmoid(x),
    "tanh": lambda x, a, b: np.tanh(x),
    "gelu": lambda x, a, b: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x, a, b: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x, a, b: x * _sigmoid(x),
    "hardswish": lambda x, a, b: x * np.clip(x / 6 + 0.5, 0, 1),
    "hardsigmoid": lambda x, a, b: np.clip(x / 6 + 0.5, 0, 1),
    "clip": lambda x, a, b: np.clip(x, a, b),
    "leaky_relu": lambda x, a, b: np.where(x >= 0, x, a * x),
    "elu": lambda x, a, b: b * np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))),
    "mish": lambda x, a, b: x * np.tanh(np.logaddexp(0, x)),
    "softplus": _softplus,
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "abs": lambda x, a, b: np.abs(x),
    "square": lambda x, a, b: x * x,
    "sqrt": lambda x, a, b: np.sqrt(x),
    "exp": lambda x, a, b: np.exp(x),
    "log": lambda x, a, b: np.log(x),
    "reciprocal": lambda x, a, b: 1 / x,
    "power": lambda x, a, b: np.power(x, a),
}
"""By name. a and b are `alpha` and `beta`: the bounds of `clip`, the slope of `leaky_relu`, alpha and scale of `elu`, beta and
threshold of `softplus`, the exponent of `power`."""

POSITIVE = ("sigmoid", "hardsigmoid", "softplus", "abs", "square", "sqrt", "exp")
"""That are never negative."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Operation):
    """A function of each component by itself; in int8 a table of a level for each level."""

    function: str
    alpha: float = 0.0
    beta: float = 0.0

    kind: ClassVar[str] = "activation"

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the input."""
        if self.function not in FUNCTIONS:
            raise unknown("function", self.function, FUNCTIONS)
        if not all(abs(setting) <= LARGEST_SETTING for setting in (self.alpha, self.beta)):
            raise UserError(
                f"{named(self)} has `alpha` (={self.alpha:g}) or `beta` (={self.beta:g}) beyond {LARGEST_SETTING:g}"
            )
        if self.function == "softplus" and self.alpha <= 0:
            raise UserError(f"{named(self)} has `alpha` (={self.alpha:g}), which must be above 0")
        return inputs[0]

    def compute(self, *inputs: Values) -> Values:
        """Return the function of each component."""
        with np.errstate(all="ignore"):  # NaN where a network asks for it
            result: Values = FUNCTIONS[self.function](inputs[0], self.alpha, self.beta)
        return result

    def levels(self, before: Sequence[Levels], largest: float) -> Levels:
        """Return signed levels unless the function is never negative."""
        positive = self.function in POSITIVE or (self.function == "clip" and self.alpha >= 0)
        return levels_for(largest, signed=not positive)

    def table(self, quantized: "Quantized") -> Sums:
        """Return the level that becomes of each level."""
        before, after = (quantized.levels[value] for value in (self.inputs[0], self.output))
        return nearest(self.compute(before.scale * (np.arange(before.largest + 1.0) - before.zero)), after)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return what the table has for each level."""
        return self.table(quantized)[inputs[0]]
