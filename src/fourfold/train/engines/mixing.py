"""Mixup and cutmix: batches whose items are mixed with each other, and in which part."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from fourfold.nn.inputs import map_tensors
from fourfold.record import TrainSpec, UserError

Mixed = tuple[Any, Any, float]
"""Inputs, the targets of what was mixed in, and the part that each item's own target has."""

Mix = Callable[[Any, Any, Generator], Mixed]


def mixing_of(spec: TrainSpec) -> Mix | None:
    """Return how a spec mixes batches; None if it does not."""
    if spec.mixup is not None:
        alpha = spec.mixup
        return lambda inputs, targets, generator: mixup(inputs, targets, alpha, generator)
    if spec.cutmix is not None:
        alpha = spec.cutmix
        return lambda inputs, targets, generator: cutmix(inputs, targets, alpha, generator)
    return None


def step_generator(seed: int, step: int) -> Generator:
    """Return what a step of an epoch draws from, whatever was drawn before: training that is resumed draws the same."""
    digest = hashlib.sha256(f"mix {seed} {step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def mixup(inputs: Any, targets: Any, alpha: float, generator: Generator) -> Mixed:
    """Return each input mixed with another one of the batch, with one weight from Beta(alpha, alpha) (Zhang et al. 2018)."""
    part = _beta(alpha, generator)
    order = torch.randperm(_count(inputs), generator=generator)

    def mix(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            raise UserError("`train.mixup` needs inputs of numbers: tokens and labels cannot be mixed")
        return part * tensor + (1 - part) * tensor[order.to(tensor.device)]

    return map_tensors(mix, inputs), _reordered(targets, order), part


def cutmix(inputs: Any, targets: Any, alpha: float, generator: Generator) -> Mixed:
    """Return each image with a rectangle of another one, whose area is from Beta(alpha, alpha) (Yun et al. 2019)."""
    if not isinstance(inputs, Tensor) or inputs.dim() != 4:
        raise UserError("`train.cutmix` needs images (batch, channels, height, width)")
    area = 1 - _beta(alpha, generator)
    height, width = inputs.shape[2:]
    rows, columns = round(height * area**0.5), round(width * area**0.5)
    centre = torch.rand(2, generator=generator).tolist()
    top, left = int(centre[0] * height) - rows // 2, int(centre[1] * width) - columns // 2
    bottom, right = min(top + rows, height), min(left + columns, width)
    top, left = max(top, 0), max(left, 0)
    order = torch.randperm(len(inputs), generator=generator)
    mixed = inputs.clone()
    mixed[:, :, top:bottom, left:right] = inputs[order.to(inputs.device), :, top:bottom, left:right]
    return mixed, _reordered(targets, order), 1 - (bottom - top) * (right - left) / (height * width)


def _beta(alpha: float, generator: Generator) -> float:
    """Draw from Beta(alpha, alpha), as two gamma variables in proportion."""
    first, second = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator).tolist()
    return float(first / (first + second)) if first + second > 0 else 1.0


def _count(inputs: Any) -> int:
    counts: list[int] = []
    map_tensors(lambda tensor: counts.append(len(tensor)) or tensor, inputs)  # type: ignore[func-returns-value]
    return counts[0]


def _reordered(targets: Any, order: Tensor) -> Any:
    return map_tensors(lambda tensor: tensor[order.to(tensor.device)], targets)
