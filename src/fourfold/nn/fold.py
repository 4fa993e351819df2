"""Folding batch norm, of components or whitening, into the layer before it: one real layer in place of two, for inference."""

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from fourfold.nn.convert import to_real
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
    if not isinstance(layer, Layer) or not isinstance(norm, _NORMS):
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

    Those are the norms next to a linear or convolution layer in the same `nn.Sequential`, which all networks of
    `fourfold.models` are made of. An `nn.Identity` stands in each one's place, so that all names and positions stay. Others
    stay, and so do those that `fold` refuses.
    """
    model = copy.deepcopy(model).eval()
    for sequence in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        slots = list(sequence._modules.items())
        for (first, layer), (second, norm) in pairwise(slots):
            if isinstance(layer, Layer) and isinstance(norm, _NORMS):
                try:
                    folded = fold(layer, norm)
                except UserError:
                    continue
                setattr(sequence, first, folded.eval())
                setattr(sequence, second, nn.Identity())
    return model


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
