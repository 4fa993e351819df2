"""`shrink`: rows that are pruned away really leave the network, which then is a smaller one with equal outputs."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fourfold.nn import algebra_of, named_weights
from fourfold.nn.base import AlgebraLayer
from fourfold.nn.components import NumberLayer
from fourfold.nn.weights import copied
from fourfold.pruning._prune import check_model
from fourfold.pruning.links import ELEMENTWISE, Link, Weighted, find_links, inputs_of, width_of
from fourfold.pruning.masks import apply_, matched

Model = TypeVar("Model", bound=nn.Module)


def shrink(model: Model, masks: Mapping[str, Tensor], shape: Any = None) -> Model:
    """Return a smaller network with the outputs that the pruned model has in evaluation mode, up to rounding.

    An output element of a layer (a neuron or channel; n of them in an algebra) is cut out where it is the same for every
    image, as all its weights are pruned, or where no kept weight of the next layer reads it. What a constant one adds to
    the next layer goes into that layer's bias. So `prune(unit="row")` gives a network that is smaller wherever it runs.

    Numbers leave where one `Linear`, `Conv1d` or `Conv2d` follows another with nothing between them but batch norm,
    elementwise activations, dropout, pooling and `Flatten`, as inside of the blocks of a ResNet. Everything else stays as it
    is: what is added to a shortcut, grouped and transposed convolutions, learned algebras, modules with forward hooks and all
    inside them, inputs and outputs of the network. Batch norm after a linear layer is crossed where the layer's output is
    known to be (batch, features), by a `Flatten` before it or by `shape`: of tokens it normalises another axis. Constants
    other than 0 stay where the next layer pads its input with zeros. Every layer keeps at least one number. In training mode
    the outputs differ where batch norm or dropout would see the constants.

    Args:
        model: Any network of batches whose forward `torch.fx` can follow. It is not changed.
        masks: What is kept of its weights.
        shape: Shape of an image as the network sees it, or of several inputs a tuple of shapes; None if it is not known.

    Raises:
        UserError: the model's forward depends on the numbers that it is given, a layer computes its weights, or the masks are
            those of another network.
    """
    check_model(model)
    masks = matched(masks, named_weights(model))
    small = cast(Model, copied(model))
    apply_(small, masks)
    links = find_links(small, shape)
    with torch.no_grad():
        for link in reversed(links):  # what no layer reads: cutting it out frees inputs of the layer before
            _cut(link, ~_read(link), None)
        for link in links:  # what is constant: folding it makes the next layer's numbers constant in turn
            constant, values = _constants(link)
            _cut(link, constant, values)
    return small


def _unit(link: Link) -> int:
    """Return the dimension in which both layers, and poolings by norm between them, count elements."""
    between = [layer.algebra.n for layer in link.between if isinstance(layer, NumberLayer)]
    return math.lcm(algebra_of(link.first).n, algebra_of(link.second).n, *between)


def _read(link: Link) -> Tensor:
    """Return which numbers of the first layer some weight of the second one reads: bool (numbers,)."""
    by_input = (_matrix(link.second) != 0).any(2).any(0)
    by_channel = by_input.view(width_of(link.first), -1).any(1)
    return by_channel.view(_unit(link), -1).any(0)


def _matrix(layer: Weighted) -> Tensor:
    """Return the real weight (out, in, positions of the kernel)."""
    weight = layer.matrix() if isinstance(layer, AlgebraLayer) else layer.weight
    return weight.detach().unsqueeze(-1).flatten(2)


def _constants(link: Link) -> tuple[Tensor, Tensor]:
    """Return which numbers of the first layer are the same for every image, and what arrives of each real output of it."""
    matrix = _matrix(link.first)
    through = ~(matrix != 0).flatten(1).any(1)
    values = matrix.new_zeros(len(matrix)) if link.first.bias is None else link.first.bias.detach().clone()
    for layer in link.between:
        if isinstance(layer, _BatchNorm):
            values = _normalized(layer, values)
        elif isinstance(layer, nn.AvgPool1d | nn.AvgPool2d) and _pads(layer.padding) and layer.count_include_pad:
            through &= values == 0
        elif isinstance(layer, ELEMENTWISE) or not isinstance(layer, nn.Module):
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


def _cut(link: Link, gone: Tensor, values: Tensor | None) -> None:
    """Cut numbers out of the first layer and what follows; `values` of its real outputs go into the second one's bias."""
    if gone.all():
        gone = gone.clone()
        gone[0] = False
    if not gone.any():
        return
    n, positions = _unit(link), inputs_of(link.second) // width_of(link.first)
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
    """Keep some real inputs of a weighted layer, elements of it: every component has the same ones."""
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
