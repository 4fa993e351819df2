"""Derivatives of a network's loss by its stored weights. The network, its gradients and its buffers stay as they are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fourfold.algebra import Algebra
from fourfold.algebra.checking import NARROW
from fourfold.nn import named_weights
from fourfold.nn.base import AlgebraLayer
from fourfold.nn.blocks import BlockedLayer
from fourfold.nn.inputs import Inputs, arguments_of, batch_size, call_with, entry, map_tensors, tensors_in, widened_inputs
from fourfold.nn.weights import copied
from fourfold.pruning.losses import Loss, checked, cross_entropy
from fourfold.record import UserError


def gradients(
    model: nn.Module, images: Inputs, labels: Any, loss: Loss = cross_entropy, *, leave_computed: bool = False
) -> dict[str, Tensor]:
    """Return ∂L/∂w, L being the mean loss of a batch, in the mode (training or evaluation) that the model is in.

    Derivatives of a network in half precision are taken in float32, where they do not underflow.

    Shapes: images (batch, …), labels (batch, …) → by weight name, the weights' shapes.

    Args:
        model: The network.
        images: A tensor, a tuple of tensors (arguments in order) or a dict (arguments by name).
        labels: What `loss` compares the outputs with; classes for cross-entropy.
        loss: From outputs and labels to the mean loss of the batch.
        leave_computed: Leave out weights that a layer computes instead of refusing them, as in `named_weights`.

    Raises:
        UserError: a layer computes its weights; outputs or labels are not those of a classifier and there is no other `loss`;
            the loss is no finite number that depends on the weights.
    """
    weights, value = _loss(model, images, labels, loss, leave_computed)
    return _zip(weights, torch.autograd.grad(value, list(weights.values()), allow_unused=True))


def gradients_of_images(
    model: nn.Module, images: Inputs, labels: Any, loss: Loss = cross_entropy, *, leave_computed: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Yield ∂L/∂w of every image alone, in evaluation mode, since batch norm would make it depend on the others."""
    size = batch_size("images", images)
    if batch_size("labels", labels) != size:
        raise UserError(f"`labels` (={batch_size('labels', labels)} entries) must be as many as `images` (={size})")
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        for index in range(size):
            yield gradients(model, entry(images, index), entry(labels, index), loss, leave_computed=leave_computed)
    finally:
        for module in training:
            module.training = True


def hessian_times(
    model: nn.Module,
    images: Inputs,
    labels: Any,
    vectors: Mapping[str, Tensor] | None = None,
    loss: Loss = cross_entropy,
    *,
    leave_computed: bool = False,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return g = ∂L/∂w and the product of the Hessian of L over all the weights with `vectors`, or with g itself."""
    with _twice_differentiable():
        weights, value = _loss(model, images, labels, loss, leave_computed)
        values = list(weights.values())
        first = torch.autograd.grad(value, values, create_graph=True, materialize_grads=True)
        along = [gradient.detach() for gradient in first]
        if vectors is not None:
            along = [vectors[name].detach().to(weight.dtype) for name, weight in weights.items()]
        inner = torch.stack([(a * b).sum() for a, b in zip(first, along, strict=True)]).sum()
        if inner.requires_grad:
            second = torch.autograd.grad(inner, values, materialize_grads=True)
        else:  # L is linear in the weights
            second = tuple(torch.zeros_like(value) for value in values)
    return _zip(weights, first), _zip(weights, second)


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Keep torch off its fused attention and recurrent kernels, which have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
        yield


def flow_gradients(
    model: nn.Module, images: Inputs, *, leave_computed: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return |w| and ∂R/∂|w| for SynFlow's R (Tanaka et al. 2020): the sum of the outputs for an image of ones.

    In R every layer is replaced by its absolute value: all weights, and with them the algebra's signs, positive; biases and
    running means zero; batch norm in evaluation mode. Without other nonlinearities than ReLU and poolings, Σ |w| ∂R/∂|w|
    is then the same for every layer that all paths go through. In double precision: R is a product over the layers.

    Args:
        model: The network.
        images: Any batch, as for `gradients`; only the shape of its first image counts, and integers, such as tokens, stay.
        leave_computed: Leave out weights that a layer computes instead of refusing them, as in `named_weights`.

    Raises:
        UserError: the network has a learned algebra, which has no signs to drop, or a layer of rotations, which have their own.
    """
    batch_size("images", images)
    named_weights(model, leave_computed=leave_computed)  # refuses those that are computed
    flow = copied(model).double().eval()
    for module in flow.modules():
        if hasattr(module, "ranked_weights"):
            raise UserError(
                "`score` (='synflow') must be another for layers of rotations, whose matrices have signs of their own"
            )
        if isinstance(module, AlgebraLayer | BlockedLayer):
            if not isinstance(module.algebra, Algebra):
                raise UserError("`score` (='synflow') must be another for networks with learned algebras, which have no signs")
            module.algebra = _without_signs(module.algebra)
    with torch.no_grad():
        for name, value in (*flow.named_parameters(), *flow.named_buffers()):
            if not value.is_floating_point():
                continue
            is_shift = name.rpartition(".")[2].startswith(("bias", "running_mean"))
            value.copy_(torch.zeros_like(value) if is_shift else value.abs())
    weights = named_weights(flow, leave_computed=True)
    for weight in weights.values():
        weight.requires_grad_()  # frozen ones are scored, too
    args, kwargs = arguments_of(map_tensors(_ones, entry(images, 0)))
    with torch.enable_grad():
        outputs = [output.sum() for output in tensors_in(flow(*args, **kwargs)) if output.is_floating_point()]
        total = checked(torch.stack(outputs).sum() if outputs else None)
    values = torch.autograd.grad(total, list(weights.values()), materialize_grads=True)
    return _zip(weights, tuple(weights.values())), _zip(weights, values)


def _ones(image: Tensor) -> Tensor:
    return torch.ones_like(image, dtype=torch.float64) if image.is_floating_point() else image


def _without_signs(algebra: Algebra) -> Algebra:
    constants = tuple(tuple(tuple(abs(c) for c in row) for row in plane) for plane in algebra.constants)
    return Algebra(f"{algebra.name} without signs", constants)


def _loss(model: nn.Module, images: Inputs, labels: Any, loss: Loss, leave_computed: bool) -> tuple[dict[str, Tensor], Tensor]:
    stored = named_weights(model, leave_computed=leave_computed)
    narrow = any(weight.dtype in NARROW for weight in stored.values())
    weights = {name: _wide(weight.detach(), narrow).requires_grad_() for name, weight in stored.items()}
    leaves = {id(weight): weights[name] for name, weight in stored.items()}  # under whatever names layers share them
    buffers = {id(buffer) for buffer in model.buffers()}

    def state(value: Tensor) -> Tensor:
        if id(value) in leaves:
            return leaves[id(value)]
        return _wide(value.detach().clone() if id(value) in buffers else value.detach(), narrow)  # batch norm updates those

    first = next(tensors_in(images), None)
    if first is None or not first.dim():
        batch_size("images", images)  # which says what is wrong
    elif not len(first):
        raise UserError("`images` (=0 entries) must have at least one")
    with torch.enable_grad():
        outputs = call_with(model, state, widened_inputs(images) if narrow else images)
        return weights, checked(loss(outputs, labels))


def _wide(value: Tensor, narrow: bool) -> Tensor:
    return value.float() if narrow and value.dtype in NARROW else value


def _zip(weights: Mapping[str, Tensor], values: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    pairs = zip(weights.items(), values, strict=True)
    return {name: torch.zeros_like(weight) if value is None else value.detach() for (name, weight), value in pairs}
