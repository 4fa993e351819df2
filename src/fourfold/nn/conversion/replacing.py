"""A layer made anew in another class, put in the place of the old one wherever that is used."""

from collections import OrderedDict
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fourfold.algebra import Algebra
from fourfold.nn.base import own_algebra
from fourfold.nn.conversion.rules import Rule


def make(layer_class: Any, rule: Rule, layer: nn.Module, algebra: Algebra | None = None, one_group: bool = False) -> nn.Module:
    """Return a newly drawn layer of the arguments, device, type and settings of training of another.

    It is in an algebra, or with None one of torch.nn; with `one_group`, a grouped convolution gets a single group.

    Raises:
        ValueError: the algebra does not divide the sizes.
    """
    arguments = rule.arguments(layer)
    if one_group and "groups" in arguments:
        arguments["groups"] = 1
    if algebra is not None:
        arguments["algebra"] = algebra
    like = next((p for p in layer.parameters() if p.is_floating_point() or p.is_complex()), None)
    if like is not None:
        arguments.update(device=like.device, dtype=like.dtype)
    replacement: nn.Module = layer_class(**arguments)
    parameters, modules = dict(layer.named_parameters()), dict(layer.named_modules())
    for name, parameter in replacement.named_parameters():
        parameter.requires_grad_(name not in parameters or parameters[name].requires_grad)
    for name, module in replacement.named_modules():
        module.training = modules.get(name, layer).training
    return replacement


def replace_(replacements: Iterable[tuple[nn.Module, nn.Module]]) -> None:
    """Turn each layer into its replacement; parameters that layers shared, their replacements share.

    The objects stay what they are and change their class, as under `torch.nn.utils.parametrize`: so wherever a model uses a
    layer, be it twice or from a plain list, it finds the new one. Hooks and attributes that users have set stay, too.
    """
    replacements = list(replacements)
    first: dict[int, nn.Parameter] = {}
    for old, new in replacements:
        parameters = dict(new.named_parameters())
        for name, parameter in old.named_parameters():
            if name not in parameters:
                continue
            shared = first.setdefault(id(parameter), parameters[name])
            if shared is not parameters[name] and shared.shape == parameters[name].shape:
                path, _, attribute = name.rpartition(".")
                setattr(new.get_submodule(path), attribute, shared)
    for old, new in replacements:
        _keep_what_users_set(old, new)
        old.__class__ = type(new)
        old.__dict__ = new.__dict__


def rename_(layer: nn.Module, torch_class: type[nn.Module]) -> None:
    """Make a layer of ours torch's that has the same parameters and computes the same."""
    layer.__class__ = torch_class
    vars(layer).pop("algebra", None)


def state_of(layer: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Return parameters and buffers as the layer computes with them, parametrized ones as well."""
    return {name: attrgetter(name)(layer).detach() for name in names}


def refuse_fused_encoders_(model: nn.Module) -> None:
    """Keep torch's encoders off the fused kernel, which reads the weights of layers that are no longer torch's."""
    for encoder in model.modules():
        if isinstance(encoder, nn.TransformerEncoderLayer) and not _is_torchs(encoder):
            encoder.activation_relu_or_gelu = 0  # torch's sign that the kernel must not be taken
        if isinstance(encoder, nn.TransformerEncoder) and not _is_torchs(encoder):
            encoder.use_nested_tensor = False


def allow_fused_encoders_(model: nn.Module) -> None:
    """Let torch's encoder layers take the fused kernel again, as their constructor does."""
    for encoder in model.modules():
        if isinstance(encoder, nn.TransformerEncoderLayer) and _is_torchs(encoder):
            activation = encoder.activation
            is_relu, is_gelu = (activation is f or isinstance(activation, c) for f, c in ((F.relu, nn.ReLU), (F.gelu, nn.GELU)))
            encoder.activation_relu_or_gelu = 1 if is_relu else 2 if is_gelu else 0


def _is_torchs(model: nn.Module) -> bool:
    return all(own_algebra(module).n == 1 for module in model.modules())


def _keep_what_users_set(old: nn.Module, new: nn.Module) -> None:
    for name, value in vars(old).items():
        if isinstance(value, OrderedDict) and "hooks" in name and name in vars(new):
            vars(new)[name].update(value)
        elif name not in vars(new) and name != "algebra" and not name.startswith("_"):
            vars(new)[name] = value
