"""What is pruned together: single weights, whole numbers of the algebra, or whole rows of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from fourfold.nn import algebra_of, layers_with_weights, named_weights
from fourfold.record import UserError
from fourfold.record.errors import unknown

UNITS = {
    "weight": "every stored weight alone",
    "element": "the n components of a number together: a quaternion is kept or removed as a whole",
    "row": "all weights of an output number together: n rows of the real matrix, a filter; the output layer has none",
}
"""The units by name, each with what it holds together."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """How the weights of a network are grouped into units."""

    unit: str = "weight"
    """One of `UNITS`."""
    dimensions: Mapping[str, int] = field(default_factory=dict)
    """Dimension n of the algebra of each weight, by the weight's name; those that are not named are real."""
    untouched: frozenset[str] = frozenset()
    """Names of weights of which nothing is pruned, though they count: the output layer's, whose rows are classes."""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise unknown("unit", self.unit, UNITS)

    def dimension(self, name: str) -> int:
        """Return the dimension of a weight's algebra."""
        return self.dimensions.get(name, 1)

    def split(self, name: str, values: Tensor) -> Tensor:
        """Return the values (out, in / n, *kernel) that belong to a weight's entries, unit by unit: (units, entries)."""
        if self.unit == "weight":
            return values.reshape(-1, 1)
        n = self.dimension(name)
        numbers = values.reshape(n, values.shape[0] // n, -1)
        return numbers.flatten(1).t() if self.unit == "element" else numbers.transpose(0, 1).flatten(1)

    def join(self, name: str, kept: Tensor, mask: Tensor) -> Tensor:
        """Return the part of a weight's mask whose units are kept: bool (units,) and (out, in / n, *kernel)."""
        if self.unit == "weight":
            return kept.view(mask.shape) & mask
        n = self.dimension(name)
        of_numbers = kept.view(1, mask.shape[0] // n, -1)  # a row's one entry is spread over its inputs
        shape = (n, mask.shape[0] // n, math.prod(mask.shape[1:]))
        return of_numbers.expand(shape).reshape(mask.shape) & mask


def units_of(model: nn.Module, unit: str = "weight") -> Units:
    """Return the units of a model's weights; of rows, those of the output layer, the last one of several, are untouched.

    Raises:
        ValueError: an unknown unit, or one of several weights in a model with layers other than linear and convolution ones.
    """
    layers = {f"{name}.weight".removeprefix("."): layer for name, layer in layers_with_weights(model).items()}
    others = [name for name in named_weights(model) if name not in layers]
    if unit != "weight" and others:
        raise UserError(
            f"`unit` (={unit!r}) must be 'weight' for {others[0]!r}, which is neither a linear nor a convolution layer"
        )
    untouched = frozenset(list(layers)[-1:]) if unit == "row" and len(layers) > 1 else frozenset()
    return Units(unit=unit, dimensions={name: algebra_of(layer).n for name, layer in layers.items()}, untouched=untouched)
