"""Folding batch norm, of components or whitening, into the layer before it: one real layer in place of two, for inference."""

import math
from collections import Counter
from itertools import pairwise

import torch
from torch import Tensor, fx, nn

from fourfold.nn._convert import check_module, to_real
from fourfold.nn.tracing import own_graph
from fourfold.nn.weights import copied
from fourfold.nn.whitening import WhiteningBatchNorm
from fourfold.record import UserError

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def fold(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """Return torch's real layer that computes norm(layer(x)) as it is in evaluation.

    The result has the expanded weights, n times as many as a layer of an algebra stores: batch norm scales every component,
    and whitening mixes them, in its own way, so that the product is no longer multiplication in the algebra. Grouped
    convolutions of an algebra get one group, as from `to_real`. The argument layers stay as they are.

    Args:
        layer: A linear layer (of inputs (N, features)), a convolution or a transposed one, ours or torch's.
        norm: A batch norm, ours or torch's, or a whitening one.

    Raises:
        ValueError: other layers, other channels, a norm without running statistics, or torch groups across which it mixes.
    """
    if not isinstance(layer, Layer) or not isinstance(norm, _NORMS) or isinstance(norm, nn.SyncBatchNorm):
        raise UserError(f"a batch norm folds into a linear or convolution layer, not {_kind(norm)} into {_kind(layer)}")
    real = to_real(layer)
    assert isinstance(real, Layer)
    channels = real.out_features if isinstance(real, nn.Linear) else real.out_channels
    if norm.num_features != channels:
        raise UserError(f"`norm` of `num_features` (={norm.num_features}) cannot follow a layer of {channels} outputs")
    if norm.running_mean is None:
        raise UserError("a norm with `track_running_stats` (=False) maps every batch in its own way: it cannot be folded")
    whitens = isinstance(norm, WhiteningBatchNorm) and norm.algebra.n > 1
    if getattr(real, "groups", 1) > 1 and (whitens or isinstance(real, _TRANSPOSED)):
        raise UserError(f"`layer` has `groups` (={real.groups}), across which {_kind(norm)} mixes: it cannot be folded")
    with torch.no_grad():
        matrix, offset = _whitening(norm) if isinstance(norm, WhiteningBatchNorm) and whitens else scaling(norm)
        axis = 1 if isinstance(real, _TRANSPOSED) else 0
        weight = real.weight.double().movedim(axis, 0)
        mixed = _apply(matrix, weight).movedim(0, axis)
        real.weight = _parameter(mixed, real.weight)
        if real.bias is not None:
            offset = offset + _apply(matrix, real.bias.double())
        real.bias = _parameter(offset, real.weight)
    return real


def fold_norms(model: nn.Module) -> nn.Module:
    """Return a copy of a model, in evaluation mode, in which every batch norm that can be is folded into the layer before it.

    Those are the norms behind a linear or convolution layer in the same `nn.Sequential`, or in a module's own `forward` as a
    trace by `torch.fx` shows it: the layer is called once and its output goes to the norm alone. An `nn.Identity` stands in
    each norm's place, so that all names and positions stay. Others stay, and so do those that `fold` refuses or that have
    hooks, which would see something else.
    """
    check_module("model", model)
    model = copied(model).eval()
    for module in list(model.modules()):
        for first, second in _pairs(module):
            layer, norm = module.get_submodule(first), module.get_submodule(second)
            if not isinstance(layer, Layer) or not isinstance(norm, _NORMS) or _has_hooks(layer) or _has_hooks(norm):
                continue
            try:
                folded = fold(layer, norm)
            except UserError:
                continue
            _put(module, first, folded.eval())
            _put(module, second, nn.Identity())
    return model


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Return the names of two modules within another of which the second is called with the first one's output alone."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return list(pairwise(module._modules))
    if type(module).__module__.startswith(("torch.", "fourfold.nn.")):
        return []
    graph = own_graph(module)
    calls = [node for node in graph.nodes if node.op == "call_module"] if graph is not None else []
    times = Counter(id(module.get_submodule(str(node.target))) for node in calls)
    whole = {str(node.target) for node in calls}
    pairs = []
    for node in calls:
        before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        names = str(before.target), str(node.target)
        # What is called from elsewhere, too, within a module that is called as a whole, must stay.
        inside = any(name.startswith(f"{other}.") for name in names for other in whole)
        if not inside and all(times[id(module.get_submodule(name))] == 1 for name in names):
            pairs.append(names)
    return pairs


def _put(module: nn.Module, name: str, value: nn.Module) -> None:
    path, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(path), attribute, value)


def _has_hooks(module: nn.Module) -> bool:
    names = [name for name in vars(module) if name.endswith("_hooks") and "state_dict" not in name]
    return any(vars(module)[name] for name in names)


def scaling(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the scale (C) and the offset (C) of a batch norm with running statistics, as it is in evaluation, in float64."""
    assert isinstance(norm, _NORMS)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    offset = -norm.running_mean.double() * scale
    return scale, offset if norm.bias is None else offset + norm.bias.double()


def _whitening(norm: WhiteningBatchNorm) -> tuple[Tensor, Tensor]:
    """Return the matrices (c, n, n) and the offset (C) of a whitening norm."""
    matrix, offset = norm.evaluation()
    return matrix, offset.t().flatten()


def _apply(matrix: Tensor, outputs: Tensor) -> Tensor:
    """Scale (C) or mix (c, n, n) the outputs of a layer: (C, ...) → (C, ...)."""
    if matrix.dim() == 1:
        return matrix.view(-1, *[1] * (outputs.dim() - 1)) * outputs
    numbers, n, _ = matrix.shape
    mixed = torch.einsum("cij,jcr->icr", matrix, outputs.reshape(n, numbers, math.prod(outputs.shape[1:])))
    return mixed.reshape(outputs.shape)


def _parameter(value: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(like.dtype).contiguous(), requires_grad=like.requires_grad)


def _kind(module: nn.Module) -> str:
    return type(module).__name__
