"""`shrink`: rows that are pruned away really leave the network, which then is a smaller one with equal outputs."""

import copy
import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fourfold.algebra import Algebra
from fourfold.nn import Conv1d, Conv2d, LayerTracer, Linear, algebra_of, named_weights
from fourfold.nn.base import AlgebraLayer
from fourfold.nn.whitening import WhiteningBatchNorm
from fourfold.pruning.masks import Masks, apply_
from fourfold.record import UserError

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d
Model = TypeVar("Model", bound=nn.Module)

_COVERED = (nn.Linear, Linear, nn.Conv1d, Conv1d, nn.Conv2d, Conv2d)
_ELEMENTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Tanh, nn.Sigmoid),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Identity),
)
_FUNCTIONS = (F.relu, torch.relu, F.leaky_relu, F.elu, F.gelu, F.silu, torch.tanh, torch.sigmoid)
_METHODS = ("relu", "tanh", "sigmoid", "flatten")
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)

Between = nn.Module | Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class _Link:
    """A weighted layer, the only other one that sees its output, and what lies between."""

    first: Weighted
    between: tuple[Between, ...]
    second: Weighted


def shrink(model: Model, masks: Masks) -> Model:
    """Return a smaller network with the outputs that the pruned model has in evaluation mode, up to rounding.

    An output number of a layer (a neuron or channel; n of them in an algebra) is cut out where it is the same for every
    image, as all its weights are pruned, or where no kept weight of the next layer reads it. What a constant one adds to
    the next layer goes into that layer's bias. So `prune(unit="row")` gives a network that is smaller wherever it runs.

    Numbers leave where one `Linear`, `Conv1d` or `Conv2d` follows another with nothing between them but batch norm,
    elementwise activations, dropout, pooling and `Flatten`, as inside of the blocks of a ResNet. Everything else stays as it
    is: what is added to a shortcut, grouped and transposed convolutions, learned algebras, inputs and outputs of the
    network. Constants other than 0 stay where the next layer pads its input with zeros. Every layer keeps at least one
    number. In training mode the outputs differ where batch norm or dropout would see the constants.

    Args:
        model: Any network whose forward `torch.fx` can follow. It is not changed.
        masks: What is kept of its weights.

    Raises:
        UserError: the model's forward depends on the numbers that it is given.
    """
    small = copy.deepcopy(model)
    apply_(named_weights(small), masks)
    links = _links(small, _traced(small))
    with torch.no_grad():
        for link in reversed(links):  # what nobody reads: cutting it out frees inputs of the layer before
            _cut(link, ~_read(link), None)
        for link in links:  # what is constant: folding it makes the next layer's numbers constant in turn
            constant, values = _constants(link)
            _cut(link, constant, values)
    return small


def _traced(model: nn.Module) -> fx.Graph:
    """Return what a network computes in evaluation mode."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        return LayerTracer().trace(model.eval())
    except Exception as error:  # whatever a user's forward raises when it is given a symbol
        reason = str(error).partition("\n")[0]
        raise UserError(f"`model` (={type(model).__name__}) has a forward that cannot be followed ({reason})") from error
    finally:
        for module, training in modes:
            module.training = training


def _links(model: nn.Module, graph: fx.Graph) -> list[_Link]:
    """Return the pairs of layers, in the order in which they compute."""
    alone = _alone(model, graph)
    found = []
    for start in graph.nodes:
        first, node, between = _layer(model, start), start, list[Between]()
        while _is_covered(first, alone) and len(node.users) == 1:
            (node,) = node.users
            second = _layer(model, node)
            if _is_covered(second, alone):
                link = _Link(first, tuple(between), second)
                found += [link] * _fits(link)
                break
            passed = _passed(node, second, alone)
            if passed is None:
                break
            between.append(passed)
    return found


def _fits(link: _Link) -> bool:
    """Whether all that follows sees the first layer's numbers as channels or, after `Flatten`, runs of places as long."""
    of_maps, is_flat = not isinstance(link.first, nn.Linear), False
    for layer in link.between:
        if isinstance(layer, _BatchNorm) and layer.num_features != _width(link.first):
            return False
        if isinstance(layer, (*_POOLS, *_AVERAGES)) and (is_flat or not of_maps):
            return False
        is_flat |= isinstance(layer, nn.Flatten)
    if not of_maps:
        return isinstance(link.second, nn.Linear) and _inputs(link.second) == _width(link.first)
    return isinstance(link.second, nn.Linear) == is_flat


def _layer(model: nn.Module, node: fx.Node) -> nn.Module | None:
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _alone(model: nn.Module, graph: fx.Graph) -> set[nn.Module]:
    """Return the layers that are called once, and whose parameters nothing else uses."""
    called = Counter(_layer(model, node) for node in graph.nodes)
    owners = Counter(p for module in model.modules() for p in module._parameters.values())
    read = {attrgetter(str(node.target))(model) for node in graph.nodes if node.op == "get_attr"}
    return {
        layer
        for layer, times in called.items()
        if layer is not None and times == 1 and all(owners[p] == 1 and p not in read for p in layer.parameters())
    }


def _is_covered(layer: nn.Module | None, alone: Collection[nn.Module]) -> TypeGuard[Weighted]:
    """Whether numbers can be cut out of a layer."""
    if layer is None or type(layer) not in _COVERED or layer not in alone:
        return False
    return isinstance(algebra_of(layer), Algebra) and getattr(layer, "groups", 1) == 1


def _passed(node: fx.Node, layer: nn.Module | None, alone: Collection[nn.Module]) -> Between | None:
    """Return what a node does to every number by itself; None if it does something else."""
    if layer is not None:
        return layer if _passes(layer, alone) else None
    function = node.target
    if node.op == "call_method" and function in _METHODS:
        function = getattr(torch, str(function))
    given, options = node.args[1:], {name: value for name, value in node.kwargs.items() if name != "inplace"}
    if function is torch.flatten:
        return nn.Flatten() if (*given, *options.values()) in ((1,), (1, -1)) else None
    if function in _FUNCTIONS and not any(isinstance(value, fx.Node) for value in (*given, *options.values())):
        return partial(function, *given, **options)
    return None


def _passes(layer: nn.Module, alone: Collection[nn.Module]) -> bool:
    """Whether a layer does to every number, or channel, the same as if the others were not there."""
    if isinstance(layer, _BatchNorm):
        return layer.running_mean is not None and layer in alone and not isinstance(layer, WhiteningBatchNorm)
    if isinstance(layer, nn.Flatten):
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if isinstance(layer, nn.AvgPool2d):
        return layer.divisor_override is None
    return isinstance(layer, (*_ELEMENTWISE, *_DROPOUTS, *_POOLS, nn.AvgPool1d))


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
        elif isinstance(layer, _ELEMENTWISE) or not isinstance(layer, nn.Module):
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
