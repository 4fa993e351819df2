"""`shrink`: rows that are pruned away really leave the network, which then is a smaller dense one with equal outputs."""

import copy
import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fourfold.algebra import Algebra
from fourfold.nn import Conv1d, Conv2d, Linear, algebra_of, named_weights
from fourfold.nn.base import AlgebraLayer
from fourfold.pruning.masks import Masks, apply_
from fourfold.record import UserError

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d

_COVERED = (nn.Linear, Linear, nn.Conv1d, Conv1d, nn.Conv2d, Conv2d)
_ELEMENTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Tanh, nn.Sigmoid),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Identity),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d),
)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True, eq=False)
class _Link:
    """A weighted layer, the next one, and what lies between."""

    first: Weighted
    between: tuple[nn.Module, ...]
    second: Weighted


def shrink(model: nn.Sequential, masks: Masks) -> nn.Sequential:
    """Return a smaller network with the outputs that the pruned model has in evaluation mode, up to rounding.

    An output number of a layer (a neuron or channel; n of them in an algebra) is cut out where it is the same for every
    image, as all its weights are pruned, or where no kept weight of the next layer reads it. What a constant one adds to
    the next layer goes into that layer's bias. So `prune(unit="row")` gives a network that is smaller wherever it runs.

    What it does not cover: networks that are no chain (residual blocks, ResNets), grouped or transposed convolutions,
    learned algebras, other layers than `Linear`, `Conv1d`, `Conv2d`, batch norm, elementwise activations, dropout, pooling
    and `Flatten`. Constants other than 0 stay where the next layer pads its input with zeros. Inputs and outputs of the
    network keep their sizes, and every layer keeps at least one number. In training mode the outputs differ where batch norm
    or dropout would see the constants.

    Args:
        model: A chain of layers; nested `Sequential`s are flattened. It is not changed.
        masks: What is kept of its weights.

    Raises:
        UserError: the model has a layer that is not covered.
    """
    layers = _chain(copy.deepcopy(model), masks)
    weighted = [(i, layer) for i, (_, layer) in enumerate(layers) if isinstance(layer, Weighted)]
    links = [
        _Link(first, tuple(layer for _, layer in layers[a + 1 : b]), second)
        for (a, first), (b, second) in itertools.pairwise(weighted)
    ]
    with torch.no_grad():
        for link in reversed(links):  # what nobody reads: cutting it out frees inputs of the layer before
            _cut(link, ~_read(link), None)
        for link in links:  # what is constant: folding it makes the next layer's numbers constant in turn
            constant, values = _constants(link)
            _cut(link, constant, values)
    small = nn.Sequential(OrderedDict(layers))
    small.training = model.training
    return small


def _chain(model: nn.Module, masks: Masks) -> list[tuple[str, nn.Module]]:
    """Return the layers of a chain by name, with the pruned weights set to zero."""
    apply_(named_weights(model), masks)
    if type(model) is not nn.Sequential:
        raise UserError(f"`model` (={type(model).__name__}) must be a torch.nn.Sequential of layers")
    found: list[tuple[str, nn.Module]] = []

    def walk(prefix: str, module: nn.Module) -> None:
        for name, child in module._modules.items():  # `named_children` leaves out a ReLU that stands in two places
            here, child = f"{prefix}{name}", cast("nn.Module", child)
            if type(child) is nn.Sequential:
                walk(f"{here}_", child)
            elif not _is_covered(child):
                raise UserError(f"`model` has {here!r} ({type(child).__name__}), which `shrink` does not cover")
            else:
                found.append((here, child))

    walk("", model)
    if sum(isinstance(layer, Weighted) for _, layer in found) > len(named_weights(model)):
        raise UserError("`model` must not have one layer or weight in two places, where different numbers would be cut out")
    return found


def _is_covered(layer: nn.Module) -> bool:
    if type(layer) in _COVERED:
        return isinstance(algebra_of(layer), Algebra) and getattr(layer, "groups", 1) == 1
    if isinstance(layer, _BatchNorm):
        return layer.running_mean is not None
    if isinstance(layer, nn.Flatten):
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if isinstance(layer, nn.AvgPool2d):
        return layer.divisor_override is None
    return isinstance(layer, (*_ELEMENTWISE, *_POOLS, nn.AvgPool1d))


def _unit(link: _Link) -> int:
    """Return the dimension in which both layers count whole numbers."""
    return math.lcm(algebra_of(link.first).n, algebra_of(link.second).n)


def _width(layer: Weighted) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _inputs(layer: Weighted) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _read(link: _Link) -> Tensor:
    """Return which numbers of the first layer some weight of the second one reads: bool (numbers,)."""
    by_input = (_matrix(link.second) != 0).any(2).any(0)
    by_channel = by_input.view(_width(link.first), -1).any(1)
    return by_channel.view(_unit(link), -1).any(0)


def _matrix(layer: Weighted) -> Tensor:
    """Return the real weight (out, in, positions of the kernel)."""
    weight = layer.matrix() if isinstance(layer, AlgebraLayer) else layer.weight
    return weight.detach().unsqueeze(-1).flatten(2)


def _constants(link: _Link) -> tuple[Tensor, Tensor]:
    """Return which numbers of the first layer are the same for every image, and what arrives of each real output of it."""
    matrix = _matrix(link.first)
    through = ~(matrix != 0).flatten(1).any(1)
    values = matrix.new_zeros(len(matrix)) if link.first.bias is None else link.first.bias.detach().clone()
    for layer in link.between:
        if isinstance(layer, _BatchNorm):
            values = _normalized(layer, values)
        elif isinstance(layer, nn.AvgPool1d | nn.AvgPool2d) and _pads(layer.padding) and layer.count_include_pad:
            through &= values == 0
        elif isinstance(layer, _ELEMENTWISE) and not isinstance(layer, nn.Dropout | nn.Dropout1d | nn.Dropout2d):
            values = layer(values)
    if not isinstance(link.second, nn.Linear) and link.second.padding_mode == "zeros" and _pads(link.second.padding):
        through &= values == 0
    return through.view(_unit(link), -1).all(0), values


def _pads(padding: str | int | tuple[int, ...]) -> bool:
    return padding not in ("valid", 0) and not (isinstance(padding, tuple) and not any(padding))


def _normalized(norm: _BatchNorm, values: Tensor) -> Tensor:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    normal = (values - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    return normal * norm.weight.detach() + norm.bias.detach() if norm.affine else normal


def _cut(link: _Link, gone: Tensor, values: Tensor | None) -> None:
    """Cut numbers out of the first layer and what follows; `values` of its real outputs go into the second one's bias."""
    if gone.all():
        gone = gone.clone()
        gone[0] = False
    if not gone.any():
        return
    n, positions = _unit(link), _inputs(link.second) // _width(link.first)
    channels = gone.repeat(n)  # components are blocked
    if values is not None:
        inputs = (values * channels).repeat_interleave(positions)
        added = _matrix(link.second).sum(2) @ inputs
        bias = link.second.bias
        link.second.bias = nn.Parameter(added if bias is None else bias.detach() + added)
    _keep_rows(link.first, ~channels)
    for layer in link.between:
        if isinstance(layer, _BatchNorm):
            _keep_norm(layer, ~channels)
    _keep_columns(link.second, ~channels.repeat_interleave(positions))


def _keep_rows(layer: Weighted, keep: Tensor) -> None:
    """Keep some real outputs of a weighted layer; its stored rows are numbered as they are."""
    _set(layer, "weight", layer.weight[keep])
    if layer.bias is not None:
        _set(layer, "bias", layer.bias[keep])
    setattr(layer, "out_features" if isinstance(layer, nn.Linear) else "out_channels", int(keep.sum()))


def _keep_columns(layer: Weighted, keep: Tensor) -> None:
    """Keep some real inputs of a weighted layer, whole numbers of it: every component has the same ones."""
    _set(layer, "weight", layer.weight[:, keep[: layer.weight.shape[1]]])
    setattr(layer, "in_features" if isinstance(layer, nn.Linear) else "in_channels", int(keep.sum()))


def _keep_norm(norm: _BatchNorm, keep: Tensor) -> None:
    for name, value in (*norm.named_parameters(), *norm.named_buffers()):
        if value.dim() == 1:
            _set(norm, name, value[keep])
    norm.num_features = int(keep.sum())


def _set(layer: nn.Module, name: str, value: Tensor) -> None:
    old = getattr(layer, name)
    new = value.detach().clone()
    setattr(layer, name, nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new)
