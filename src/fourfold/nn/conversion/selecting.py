"""Which layers of a model are converted, and why the others are left."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from fourfold.algebra import Algebra
from fourfold.nn.base import AlgebraLayer, own_algebra
from fourfold.nn.blocks import BlockedLayer
from fourfold.nn.conversion.replacing import make
from fourfold.nn.conversion.rules import rule_of
from fourfold.nn.weights import computed_weights
from fourfold.record import UserError

Skip = str | type[nn.Module] | Iterable[str | type[nn.Module]]

_HARMLESS = ("__", "extra_repr", "reset_parameters")
"""Beginnings of the names that a subclass may define and still compute what its parent does."""


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return by name the layers that have a rule, whole, and all other modules that hold parameters of their own."""
    layers: dict[str, nn.Module] = {}
    inside: set[int] = set()
    for name, module in model.named_modules():
        if id(module) in inside:
            continue
        if _is_whole(module):
            inside.update(id(part) for part in module.modules())
        if _is_whole(module) or any(True for _ in module.parameters(recurse=False)):
            layers[name] = module
    return layers


def parts_of(layer: nn.Module) -> list[nn.Module]:
    """Return the modules that a layer of `layers_of` stands for: all inside it if it has a rule, else itself alone."""
    return list(layer.modules()) if _is_whole(layer) else [layer]


def num_parameters(layer: nn.Module) -> int:
    """Return the number of parameters of a layer of `layers_of`."""
    return sum(parameter.numel() for part in parts_of(layer) for parameter in part.parameters(recurse=False))


def _is_whole(module: nn.Module) -> bool:
    return rule_of(module) is not None or isinstance(module, AlgebraLayer | BlockedLayer)


def has_weights(layer: nn.Module) -> bool:
    """Whether a layer has weights that an algebra can share; normalisation has not."""
    known = rule_of(layer)
    return known is not None and issubclass(known[1].ours, AlgebraLayer | BlockedLayer)


def skipped(model: nn.Module, layers: dict[str, nn.Module], skip: Skip, argument: str = "skip") -> list[str]:
    """Return the names of the layers that are to be skipped, by whatever of their names or classes.

    Args:
        model: The network.
        layers: Those that can be skipped, by name.
        skip: Names of modules, with all inside them, patterns, or classes.
        argument: What it is called in the error.

    Raises:
        ValueError: a name or pattern fits no module.
    """
    chosen = {id(part) for module in modules_of(model, layers, skip, argument) for part in module.modules()}
    return [name for name, layer in layers.items() if id(layer) in chosen]


def modules_of(model: nn.Module, layers: dict[str, nn.Module], skip: Skip, argument: str = "skip") -> list[nn.Module]:
    """Return the modules that `skip` names, by whatever of their names or classes; see `skipped`.

    Raises:
        ValueError: a name or pattern fits no module.
    """
    if isinstance(skip, Mapping) and argument == "skip":
        raise UserError(f"`skip` (={skip!r}) must be names, patterns or classes of modules, not a dict")
    entries = (skip,) if isinstance(skip, str | type) or not isinstance(skip, Iterable) else tuple(skip)
    for entry in entries:
        if not isinstance(entry, str | type):
            raise UserError(f"`{argument}` (={entry!r}) must be a name, a pattern, a class of modules or several of these")
    modules = list(model.named_modules(remove_duplicate=False))
    for entry in entries:
        if isinstance(entry, str) and not any(fnmatchcase(name, entry) for name, _ in modules):
            listed = ", ".join(list(layers)[:8]) + (", …" if len(layers) > 8 else "")
            raise UserError(f"`{argument}` (={entry!r}) names no module of the model; its layers: {listed}")

    def is_meant(name: str, module: nn.Module) -> bool:
        return any(fnmatchcase(name, entry) if isinstance(entry, str) else isinstance(module, entry) for entry in entries)

    return [module for name, module in modules if is_meant(name, module)]


def output_layer(model: nn.Module, layers: dict[str, nn.Module]) -> list[str]:
    """Return the name of the last layer with weights, unless it is recurrent, attention, or within a transformer layer."""
    *_, last = ["", *(name for name, layer in layers.items() if has_weights(layer))]
    known = rule_of(layers[last]) if last in layers else None
    if known is None or not known[1].can_be_head:
        return []
    parts = last.split(".")
    around = [model.get_submodule(".".join(parts[:depth])) for depth in range(len(parts))]
    is_inner = any(isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) for module in around)
    return [] if is_inner else [last]


def counterpart(name: str, layer: nn.Module, algebra: Algebra, keeps_function: bool) -> nn.Module | str:
    """Return a newly drawn layer of the algebra for a layer, or the reason why it is to be left.

    Raises:
        ValueError: the layer's weights are computed, so there are none that could be replaced.
    """
    known = rule_of(layer)
    own = own_algebra(layer)
    if known is None:
        return "no counterpart with fewer weights" if own.n == 1 else f"in algebra {own.name!r} already"
    torch_class, rule = known
    if own.n > 1:
        return f"in algebra {own.name!r} already"
    if algebra.n == 1:
        return "real already"
    if any(is_parametrized(part) for part in layer.modules()):
        raise computed_weights(name, "weights")
    base = rule.ours if isinstance(layer, rule.ours) else torch_class
    if own_methods := overridden(layer, base):
        return f"subclass of {torch_class.__name__} with its own {', '.join(own_methods)}"
    if keeps_function and getattr(layer, "bidirectional", False):
        return "bidirectional: its outputs would come in another order"
    try:
        replacement = make(rule.ours, rule, layer, algebra)
    except ValueError as error:
        return str(error)
    names, expected = ({parameter for parameter, _ in module.named_parameters()} for module in (layer, replacement))
    if expected - names:
        raise computed_weights(name, ", ".join(sorted(expected - names)))
    return replacement if names == expected else f"has {', '.join(sorted(names - expected))} besides"


def leave_tied(
    model: nn.Module, layers: dict[str, nn.Module], replacements: dict[str, nn.Module], left: dict[str, str]
) -> None:
    """Leave layers that share a parameter with one that is left, or that is of another kind, until none is."""
    layer_of = {id(part): name for name, layer in layers.items() for part in parts_of(layer)}
    owners: defaultdict[int, set[str]] = defaultdict(set)
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)].add(layer_of[id(module)])
    groups = [sorted(names, key=list(layers).index) for names in owners.values() if len(names) > 1]
    settled = False
    while not settled:
        settled = True
        for names in groups:
            kinds = {type(replacements[name]) if name in replacements else None for name in names}
            for name in names if len(kinds) > 1 or None in kinds else []:
                if replacements.pop(name, None) is not None:
                    left[name] = f"shares weights with {next(other for other in names if other != name)!r}"
                    settled = False


def nothing_to_convert(layers: dict[str, nn.Module], left: dict[str, str], algebra: Algebra) -> UserError:
    """Return the error that says why no layer with weights can be converted."""
    reasons = [f"{name or type(layer).__name__}: {left[name]}" for name, layer in layers.items() if has_weights(layer)]
    if not reasons:
        return UserError(f"nothing to convert to {algebra.name!r}: no linear, convolution, recurrent or attention layer")
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return UserError(f"nothing to convert to {algebra.name!r}: {'; '.join(reasons[:3])}{more}")


def overridden(layer: nn.Module, base: type[nn.Module]) -> list[str]:
    """Return the methods that come before those of a base, from subclasses or mixed in, other than harmless ones."""
    order = type(layer).__mro__
    return sorted(
        {
            name
            for cls in order[: order.index(base)]
            for name, value in vars(cls).items()
            if (callable(value) or isinstance(value, property)) and not name.startswith(_HARMLESS)
        }
    )
