"""Derivatives of a network's loss by its stored weights. The network, its gradients and its buffers stay as they are."""

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fourfold.algebra import Algebra
from fourfold.nn import named_weights
from fourfold.nn.base import AlgebraLayer
from fourfold.record import UserError


def gradients(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return ∂L/∂w, L being the mean cross-entropy of a batch, in the mode (training or evaluation) that the model is in.

    Shapes: images (batch, …), labels (batch,) → by weight name, the weights' shapes.
    """
    weights, loss = _loss(model, images, labels)
    return _zip(weights, torch.autograd.grad(loss, list(weights.values()), allow_unused=True))


def gradients_of_images(model: nn.Module, images: Tensor, labels: Tensor) -> Iterator[dict[str, Tensor]]:
    """Yield ∂L/∂w of every image alone, in evaluation mode, since batch norm would make it depend on the others."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        for image, label in zip(images, labels, strict=True):
            yield gradients(model, image.unsqueeze(0), label.unsqueeze(0))
    finally:
        for module in training:
            module.training = True


def hessian_times(
    model: nn.Module, images: Tensor, labels: Tensor, vectors: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return g = ∂L/∂w and the product of the Hessian of L over all the weights with `vectors`, or with g itself."""
    weights, loss = _loss(model, images, labels)
    values = list(weights.values())
    first = torch.autograd.grad(loss, values, create_graph=True, materialize_grads=True)
    along = [gradient.detach() for gradient in first] if vectors is None else [vectors[name].detach() for name in weights]
    inner = torch.stack([(a * b).sum() for a, b in zip(first, along, strict=True)]).sum()
    if inner.requires_grad:
        second = torch.autograd.grad(inner, values, materialize_grads=True)
    else:  # L is linear in the weights
        second = tuple(torch.zeros_like(value) for value in values)
    return _zip(weights, first), _zip(weights, second)


def flow_gradients(model: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return |w| and ∂R/∂|w| for SynFlow's R (Tanaka et al. 2020): the sum of the outputs for an image of ones.

    In R every layer is replaced by its absolute value: all weights, and with them the algebra's signs, positive; biases and
    running means zero; batch norm in evaluation mode. Without other nonlinearities than ReLU and poolings, Σ |w| ∂R/∂|w|
    is then the same for every layer that all paths go through. In double precision: R is a product over the layers.

    Args:
        model: The network.
        images: Any batch; only the shape of its first image counts.

    Raises:
        UserError: the network has a learned algebra, which has no signs to drop.
    """
    flow = copy.deepcopy(model).double().eval()
    for module in flow.modules():
        if isinstance(module, AlgebraLayer):
            if not isinstance(module.algebra, Algebra):
                raise UserError("`score` (='synflow') must be another for networks with learned algebras, which have no signs")
            module.algebra = _without_signs(module.algebra)
    with torch.no_grad():
        for name, value in (*flow.named_parameters(), *flow.named_buffers()):
            if not value.is_floating_point():
                continue
            is_shift = name.rpartition(".")[2].startswith(("bias", "running_mean"))
            value.copy_(torch.zeros_like(value) if is_shift else value.abs())
    weights = named_weights(flow)
    ones = torch.ones_like(images[:1], dtype=torch.float64)
    found = torch.autograd.grad(flow(ones).sum(), list(weights.values()), materialize_grads=True)
    return _zip(weights, tuple(weights.values())), _zip(weights, found)


def _without_signs(algebra: Algebra) -> Algebra:
    constants = tuple(tuple(tuple(abs(c) for c in row) for row in plane) for plane in algebra.constants)
    return Algebra(f"{algebra.name} without signs", constants)


def _loss(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    weights = {name: weight.detach().requires_grad_() for name, weight in named_weights(model).items()}
    state = {name: value.detach() for name, value in model.named_parameters()}
    state |= {name: value.clone() for name, value in model.named_buffers()}  # batch norm would update them
    with torch.enable_grad():
        return weights, nn.functional.cross_entropy(functional_call(model, state | weights, (images,)), labels)


def _zip(weights: Mapping[str, Tensor], values: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    found = zip(weights.items(), values, strict=True)
    return {name: torch.zeros_like(weight) if value is None else value.detach() for (name, weight), value in found}
