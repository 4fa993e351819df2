"""The nearest weights of an algebra to real ones, in least squares, and the real weights of an algebra's layer.

The real weights E(s) of a layer are linear in its stored weights s, and every stored number stands, up to its sign, in r places
of its own: E is √r times an isometry, so that Eᵀ(W) / r is the s for which |W − E(s)| is least.
"""

import copy
import math
from operator import attrgetter

import torch
from torch import Tensor, nn

from fourfold.nn.base import AlgebraLayer
from fourfold.nn.blocks import BlockedLayer
from fourfold.nn.conv import regroup


def real_weights(layer: nn.Module) -> dict[str, Tensor]:
    """Return the weights with which torch's layer computes what ours does, by the names of its state dict.

    Those of grouped convolutions belong to a torch layer of *one* group, zeros and all: our groups join elements, whose
    components torch's groups would part.
    """
    if isinstance(layer, BlockedLayer):
        return layer.real_weights()
    if isinstance(layer, AlgebraLayer):
        n, groups = layer.algebra.n, layer.groups
        if n == 1:
            return {"weight": layer.weight}
        one_group = ungrouped(layer.matrix(), groups)
        return {"weight": regroup(regroup(one_group, 0, groups, n), 1, groups, n)}
    return {}


def ungrouped(weight: Tensor, groups: int) -> Tensor:
    """Return the weight of the same function with one group: (g·rows, columns, *kernel) → (g·rows, g·columns, *kernel)."""
    if groups == 1:
        return weight
    one = torch.eye(groups, dtype=weight.dtype, device=weight.device)
    blocks = weight.view(groups, -1, weight.shape[1], math.prod(weight.shape[2:]))
    joined = torch.einsum("grck,gh->grhck", blocks, one)
    return joined.reshape(weight.shape[0], groups * weight.shape[1], *weight.shape[2:])


def project_(layer: nn.Module, source: nn.Module) -> float:
    """Give a layer of ours the weights nearest to those of torch's layer `source`, and copy all else.

    Returns the relative error |W − E(s)| / |W| over all weights of the layer. Sums are taken in float64, so a matrix that has
    the algebra's form already is met exactly.
    """
    is_complex = any(parameter.is_complex() for parameter in source.parameters())
    wide = torch.complex128 if is_complex else torch.float64
    exact = copy.deepcopy(layer).to("cpu", wide).requires_grad_()
    with torch.enable_grad():
        expanded = real_weights(exact)
    stored = {name: attrgetter(name)(exact) for name in expanded}
    real = {name: attrgetter(name)(source).detach().to("cpu", wide) for name in expanded}
    targets = {name: ungrouped(weight, getattr(layer, "groups", 1)) for name, weight in real.items()}
    sums = torch.autograd.grad(list(expanded.values()), list(stored.values()), list(targets.values())) if expanded else ()
    with torch.no_grad():
        for total, (name, weight) in zip(sums, stored.items(), strict=True):
            weight.copy_(total * (weight.numel() / real[name].numel()))
        nearest = real_weights(exact)
    layer.load_state_dict({**source.state_dict(), **{name: weight.detach() for name, weight in stored.items()}})
    missed = sum(float((targets[name] - nearest[name]).abs().square().sum()) for name in expanded)
    size = sum(float(weight.abs().square().sum()) for weight in real.values())
    return math.sqrt(missed / size) if size else 0.0
