"""Pairs of layers between which numbers can leave a network: what `shrink` cuts, found in what `torch.fx` traces."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from operator import add, attrgetter, iadd, mul, sub
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules import module as torch_module
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from fourfold.algebra import Algebra
from fourfold.nn import Conv1d, Conv2d, LayerTracer, Linear, algebra_of
from fourfold.nn.weights import copied
from fourfold.nn.whitening import WhiteningBatchNorm
from fourfold.record import UserError
from fourfold.record.text import first_line

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d

_COVERED = (nn.Linear, Linear, nn.Conv1d, Conv1d, nn.Conv2d, Conv2d)
ELEMENTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Tanh, nn.Sigmoid),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Identity),
)
"""Modules that map every real number by itself."""
_FUNCTIONS = (F.relu, torch.relu, F.leaky_relu, F.elu, F.gelu, F.silu, torch.tanh, torch.sigmoid)
_METHODS = ("relu", "tanh", "sigmoid", "flatten")
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_POOLS: dict[int, tuple[type[nn.Module], ...]] = {
    1: (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
    2: (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
}
"""By the axes of their maps: on maps of fewer axes they would pool channels."""

Between = nn.Module | Callable[[Tensor], Tensor]

Ranks = dict[fx.Node, int | None]
"""Axes of what each node computes, the batch's included; None if that is not known."""


@dataclass(frozen=True, eq=False)
class Link:
    """A weighted layer, the only other one that sees its output, and what lies between."""

    first: Weighted
    between: tuple[Between, ...]
    second: Weighted
    rank: int | None
    """Axes of the first layer's output."""


def find_links(model: nn.Module, shape: Any = None) -> list[Link]:
    """Return the pairs of layers, in the order in which they compute.

    Args:
        model: The network.
        shape: Of an image, or a tuple of shapes of several inputs; None if it is not known.

    Raises:
        UserError: the forward cannot be followed.
    """
    graph = _traced(model)
    alone, ranks = _alone(model, graph), _ranks(model, graph, shape)
    links = []
    for start in graph.nodes:
        first, node, between = _layer(model, start), start, list[Between]()
        while _is_covered(first, alone) and len(node.users) == 1:
            (node,) = node.users
            second = _layer(model, node)
            if _is_covered(second, alone):
                link = Link(first, tuple(between), second, ranks[start])
                links += [link] * _fits(link)
                break
            passed = _passed(node, second, alone)
            if passed is None:
                break
            between.append(passed)
    return links


class _Tracer(LayerTracer):
    """Sees modules with hooks as wholes: what their hooks do is in no graph."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the tracer looks at a module from outside."""
        return not _is_plain(m) or super().is_leaf_module(m, module_qualified_name)


def _is_plain(module: nn.Module) -> bool:
    """Whether a module computes what its class says: without forward hooks, or a forward of its own."""
    own = (module._forward_hooks, module._forward_pre_hooks, "forward" in vars(module))
    return not any((*own, torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks))


def _traced(model: nn.Module) -> fx.Graph:
    """Return what a network computes in evaluation mode; of a copy, as a forward may leave symbols in the modules."""
    try:
        return _Tracer().trace(copied(model).eval())
    except Exception as error:  # whatever a user's forward raises when it is given a symbol
        reason = first_line(error)
        raise UserError(f"`model` (={type(model).__name__}) has a forward that cannot be followed ({reason})") from error


def _ranks(model: nn.Module, graph: fx.Graph, shape: Any) -> Ranks:
    """Return the axes of every node."""
    several = isinstance(shape, tuple | list) and any(isinstance(side, tuple | list) for side in shape)
    input_ranks = [len(one) + 1 for one in (shape if several else [shape])] if shape is not None else []
    ranks: Ranks = {}
    for node in graph.nodes:
        before = [ranks[argument] for argument in node.all_input_nodes]
        same = before[0] if before else None
        layer = _layer(model, node)
        function = getattr(torch, str(node.target), None) if node.op == "call_method" else node.target
        if node.op == "placeholder":
            ranks[node] = input_ranks.pop(0) if input_ranks else None
        elif isinstance(layer, _ConvNd):
            ranks[node] = same or len(layer.kernel_size) + 2  # batches, as everywhere
        elif isinstance(layer, nn.Flatten) or function is torch.flatten:
            start = layer.start_dim if isinstance(layer, nn.Flatten) else (*node.args[1:], *node.kwargs.values())
            ranks[node] = 2 if start in (1, (1,), (1, -1)) else None
        elif layer is not None:
            pools = (*_POOLS[1], *_POOLS[2])
            ranks[node] = same if isinstance(layer, (nn.Linear, _BatchNorm, *ELEMENTWISE, *_DROPOUTS, *pools)) else None
        elif function in (add, sub, mul, iadd, torch.add):
            ranks[node] = before[0] if len(set(before)) == 1 else None
        else:
            ranks[node] = same if function in _FUNCTIONS else None
    return ranks


def _fits(link: Link) -> bool:
    """Whether all that follows sees the first layer's numbers as channels or, after `Flatten`, runs of places as long."""
    axes = None if isinstance(link.first, nn.Linear) else len(link.first.kernel_size)
    if axes is not None and link.rank != axes + 2:
        return False  # without a batch, the channels lie on another axis
    is_flat = False
    for layer in link.between:
        if isinstance(layer, _BatchNorm) and (layer.num_features != width_of(link.first) or (axes is None and link.rank != 2)):
            return False
        if any(isinstance(layer, pools) and (is_flat or axes != rank) for rank, pools in _POOLS.items()):
            return False
        is_flat |= isinstance(layer, nn.Flatten)
    if axes is None:
        return isinstance(link.second, nn.Linear) and inputs_of(link.second) == width_of(link.first)
    return isinstance(link.second, nn.Linear) == is_flat


def _layer(model: nn.Module, node: fx.Node) -> nn.Module | None:
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _alone(model: nn.Module, graph: fx.Graph) -> set[nn.Module]:
    """Return the layers that are called once, not from within another module, and whose parameters nothing else uses."""
    nodes = [layer for node in graph.nodes if (layer := _layer(model, node)) is not None]
    called = Counter(module for layer in nodes for module in layer.modules())
    owners = Counter(p for module in model.modules() for p in module._parameters.values())
    read = {attrgetter(str(node.target))(model) for node in graph.nodes if node.op == "get_attr"}
    return {
        layer
        for layer in nodes
        if called[layer] == 1 and all(owners[p] == 1 and p not in read for p in layer.parameters()) and _is_plain(layer)
    }


def _is_covered(layer: nn.Module | None, alone: Collection[nn.Module]) -> TypeGuard[Weighted]:
    """Whether numbers can be cut out of a layer."""
    if layer is None or type(layer) not in _COVERED or layer not in alone:
        return False
    return isinstance(algebra_of(layer), Algebra) and getattr(layer, "groups", 1) == 1


def _passed(node: fx.Node, layer: nn.Module | None, alone: Collection[nn.Module]) -> Between | None:
    """Return what a node does to every element by itself; None if it does something else."""
    if layer is not None:
        return layer if _passes(layer, alone) else None
    function = node.target
    if node.op == "call_method" and function in _METHODS:
        function = getattr(torch, str(function))
    arguments, options = node.args[1:], {name: value for name, value in node.kwargs.items() if name != "inplace"}
    if function is torch.flatten:
        return nn.Flatten() if (*arguments, *options.values()) in ((1,), (1, -1)) else None
    if function in _FUNCTIONS and not any(isinstance(value, fx.Node) for value in (*arguments, *options.values())):
        return partial(function, *arguments, **options)
    return None


def _passes(layer: nn.Module, alone: Collection[nn.Module]) -> bool:
    """Whether a layer does to every element, or channel, the same as if the others were not there."""
    if not _is_plain(layer) or getattr(layer, "return_indices", False):
        return False
    if isinstance(layer, _BatchNorm):
        return layer.running_mean is not None and layer in alone and not isinstance(layer, WhiteningBatchNorm)
    if isinstance(layer, nn.Flatten):
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if isinstance(layer, nn.AvgPool2d):
        return layer.divisor_override is None
    return isinstance(layer, (*ELEMENTWISE, *_DROPOUTS, *_POOLS[1], *_POOLS[2]))


def width_of(layer: Weighted) -> int:
    """Return the real outputs of a layer."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def inputs_of(layer: Weighted) -> int:
    """Return the real inputs of a layer."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
