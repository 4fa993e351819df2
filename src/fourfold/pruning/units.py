"""What is pruned together: single weights, elements of the algebra, or whole rows of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from fourfold.nn import Layout, computes_weights, layout_of, stored_weights, weights_with_layers
from fourfold.record import UserError
from fourfold.record.errors import unknown

UNITS = {
    "weight": "every stored weight alone",
    "element": "the n components of an element together: a quaternion is kept or removed as a whole",
    "row": "all weights of an output element together: n rows of the real matrix, a filter; the output layer has none",
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
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    """How weights are stored; those that are not named as those of linear layers and convolutions."""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise unknown("unit", self.unit, UNITS)

    def dimension(self, name: str) -> int:
        """Return the dimension of a weight's algebra."""
        return self.layout(name).n

    def layout(self, name: str) -> Layout:
        """Return how a weight is stored."""
        return self.layouts[name] if name in self.layouts else Layout(n=self.dimensions.get(name, 1))

    def split(self, name: str, values: Tensor) -> Tensor:
        """Return the values that belong to a weight's entries, in its shape, unit by unit: (units, entries)."""
        if self.unit == "weight":
            return values.reshape(-1, 1)
        numbers = self.layout(name).numbers(values)
        return numbers.flatten(1).t() if self.unit == "element" else numbers.transpose(0, 1).flatten(1)

    def join(self, name: str, kept: Tensor, mask: Tensor) -> Tensor:
        """Return the part of a weight's mask whose units are kept: bool (units,) and the weight's shape."""
        if self.unit == "weight":
            return kept.view(mask.shape) & mask
        layout = self.layout(name)
        numbers = layout.numbers(mask)
        _, outputs, inputs, positions = numbers.shape
        of_units = (1, outputs, inputs, positions) if self.unit == "element" else (1, outputs, 1, 1)
        return layout.stored(kept.view(of_units).expand(numbers.shape), tuple(mask.shape)) & mask


def units_of(model: nn.Module, unit: str = "weight", *, leave_computed: bool = False) -> Units:
    """Return the units of a model's weights.

    Of rows, the output layer's, which is the last one of several with weights, are untouched. A row of a recurrent layer, or of
    a projection of attention, is one element of one gate, or of a query, key or value, in one of the layer's weights.

    Raises:
        UserError: an unknown unit; rows of a network of which no layer has any to remove; a layer that computes its weights.
    """
    layers = weights_with_layers(model, leave_computed=leave_computed)
    layouts = {name: layout_of(layer, local) for name, (layer, local, _) in layers.items()}
    untouched: set[str] = set()
    if unit == "row" and layers:
        untouched = _of_output_layer(model, layers)
        if untouched == set(layers):
            raise UserError("`unit` (='row') must be 'weight' or 'element' for a network whose layers have no rows to remove")
    dimensions = {name: layout.n for name, layout in layouts.items()}
    return Units(unit=unit, dimensions=dimensions, untouched=frozenset(untouched), layouts=layouts)


def _of_output_layer(model: nn.Module, layers: Mapping[str, tuple[nn.Module, str, Tensor]]) -> set[str]:
    """Return the weights of the last layer that has any, under the names they have; none if it is the only one."""
    holders = [module for module in model.modules() if not computes_weights(module) and stored_weights(module)]
    if len(holders) < 2:
        return set()
    of_last = [id(weight) for weight in stored_weights(holders[-1]).values()]
    return {name for name, (_, _, weight) in layers.items() if id(weight) in of_last}
