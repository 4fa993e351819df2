"""Lowering of functions and tensor methods that a network's forward calls: most stand for a layer, and are lowered as it."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from fourfold.deploy.frontend.layers import Lowering, lower_layer, refusal
from fourfold.deploy.ir.ops import Add

Call = Callable[..., int]
"""Called with the lowering, a name, a value, and the call's other arguments as they are; returns the value made."""

SUMS = (operator.add, torch.add, "add", "add_")
"""Of two values; all other calls are of one."""
IN_PLACE = (F.relu_, torch.relu_, "add_", "relu_")
"""After these the first argument is what they return."""


def lower_call(lowering: Lowering, node: fx.Node, name: str, *values: int) -> int:
    """Append what a call does to values, and return the value that comes out.

    Raises:
        UserError: the function, or what it is given, is not among what can be deployed.
    """
    others, settings = node.args[len(values) :], dict(node.kwargs)
    if node.target in SUMS and not others and settings.pop("alpha", 1) == 1:
        return lowering.add(Add, name, *values)
    if node.target not in CALLS:
        raise refusal(called(node))
    try:
        return CALLS[node.target](lowering, name, *values, *others, **settings)
    except TypeError as error:
        raise refusal(called(node), f" as it is called ({error})") from error


def called(node: fx.Node) -> str:
    """Return what a node calls, and the path of the module in whose forward it does."""
    function = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"{function!r} in the forward of {caller(node) or 'the network'}"


def caller(node: fx.Node) -> str:
    """Return the path of the module in whose forward a node is; empty for the network's own."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(next((path for path, _ in reversed(stack.values())), ""))


def is_size(node: fx.Node) -> bool:
    """Whether a node asks for a shape, or for a number of one: such as `x.size(0)` in `x.view(x.size(0), -1)`."""
    if node.target == "size" or (node.target is getattr and node.args[1] == "shape"):
        return True
    return node.target is operator.getitem and isinstance(node.args[0], fx.Node) and is_size(node.args[0])


def _layer(make: Callable[..., nn.Module]) -> Call:
    """Return the call that does what the layer does which `make` returns for its settings."""

    def call(lowering: Lowering, name: str, value: int, *settings: Any, **named: Any) -> int:
        return lower_layer(lowering, make(*settings, **named), name, value)

    return call


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Module:
    """Torch's function begins with the batch, its layer after it."""
    return nn.Flatten(start_dim, end_dim)


def _dropout(p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Module:
    if training:
        raise TypeError("dropout that does not end with training")
    return nn.Dropout(p, inplace)


def _mean(lowering: Lowering, name: str, value: int, dim: Any = None, keepdim: bool = False) -> int:
    axes = dim if isinstance(dim, tuple | list) else ()
    if sorted(axis % 4 for axis in axes) != [2, 3]:
        raise TypeError("a mean over other axes than height and width")
    mean = lower_layer(lowering, nn.AdaptiveAvgPool2d(1), name, value)
    return mean if keepdim else lower_layer(lowering, nn.Flatten(), f"{name}.flatten", mean)


def _reshape(lowering: Lowering, name: str, value: int, *sizes: Any) -> int:
    """Lower `x.view(x.size(0), -1)` and its like, where what comes out is a vector for each image."""
    batch, *rest = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
    features = math.prod(lowering.shapes[value])
    if rest not in ([-1], [features]) if isinstance(batch, fx.Node) else (batch, rest) != (-1, [features]):
        raise TypeError("a shape other than a vector of each image, which x.flatten(1) makes")
    return lower_layer(lowering, nn.Flatten(), name, value)


CALLS: dict[Any, Call] = {
    F.relu: _layer(nn.ReLU),
    F.relu_: _layer(nn.ReLU),
    torch.relu: _layer(nn.ReLU),
    torch.relu_: _layer(nn.ReLU),
    "relu": _layer(nn.ReLU),
    "relu_": _layer(nn.ReLU),
    F.dropout: _layer(_dropout),
    F.max_pool2d: _layer(nn.MaxPool2d),
    F.avg_pool2d: _layer(nn.AvgPool2d),
    F.adaptive_avg_pool2d: _layer(nn.AdaptiveAvgPool2d),
    torch.flatten: _layer(_flatten),
    "flatten": _layer(_flatten),
    torch.mean: _mean,
    "mean": _mean,
    torch.reshape: _reshape,
    "reshape": _reshape,
    "view": _reshape,
}
"""By what a node calls: a function, or the name of a method."""
