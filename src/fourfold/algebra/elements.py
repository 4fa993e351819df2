"""Arithmetic of elements: tensors whose last axis holds the n components, broadcast over all others.

Every function is differentiable with finite gradients everywhere, also at zero.
"""

import torch
from torch import Tensor

from fourfold.algebra.algebra import QUATERNION, Algebra


def product(p: Tensor, q: Tensor, algebra: Algebra = QUATERNION) -> Tensor:
    """Return p·q: for quaternions the Hamilton product, equation (3) of paper 1.

    Shapes: p, q (..., n), broadcast against each other → (..., n).
    """
    _check(p, algebra)
    _check(q, algebra)
    rows = [sum(s * p[..., c] * q[..., b] for b, (c, s) in enumerate(row)) for row in algebra.left_table]
    return torch.stack([row for row in rows if isinstance(row, Tensor)], dim=-1)


def conjugate(q: Tensor) -> Tensor:
    """Return q with the imaginary components negated. Shapes: (..., n) → (..., n)."""
    return torch.cat([q[..., :1], -q[..., 1:]], dim=-1)


def norm(q: Tensor) -> Tensor:
    """Return |q|, the Euclidean norm of the components; its gradient at zero is zero. Shapes: (..., n) → (...)."""
    length: Tensor = torch.linalg.vector_norm(q, dim=-1)
    return length


def inverse(q: Tensor) -> Tensor:
    """Return q* / |q|², so that q·inverse(q) = 1. Shapes: (..., n) → (..., n).

    Zero has no inverse: its components are infinite (the real one) and zero, with a gradient of zero.
    """
    unit, scale, is_zero = _scaled(q)
    inverted = conjugate(unit) / unit.square().sum(-1, keepdim=True) / scale
    return torch.where(is_zero, _infinite_real(q), inverted)


def exp(q: Tensor) -> Tensor:
    """Return e^q = e^r (cos|v| + v sin|v| / |v|) for q = r + v. Shapes: (..., n) → (..., n)."""
    real, vector = q[..., :1], q[..., 1:]
    angle = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return real.exp() * torch.cat([angle.cos(), vector * torch.special.sinc(angle / torch.pi)], dim=-1)


def log(q: Tensor) -> Tensor:
    """Return the principal logarithm log|q| + v · (angle of q) / |v| for q = r + v. Shapes: (..., n) → (..., n).

    On the negative real axis, where every unit vector is a direction, the imaginary part is 0; log 0 = −∞, with a gradient
    of zero.
    """
    unit, scale, is_zero = _scaled(q)
    real, vector = unit[..., :1], unit[..., 1:]
    length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    tiny = length < torch.finfo(q.dtype).eps
    near_axis = 1 / torch.where(tiny, real, 1)
    ratio = torch.where(tiny, near_axis, torch.atan2(length, real) / torch.where(tiny, 1, length))
    logarithm = torch.cat([0.5 * unit.square().sum(-1, keepdim=True).log() + scale.log(), vector * ratio], dim=-1)
    return torch.where(is_zero, -_infinite_real(q), logarithm)


def rotate(q: Tensor, vector: Tensor) -> Tensor:
    """Return the vector rotated by the quaternion: the imaginary part of q v q⁻¹. Shapes: (..., 4), (..., 3) → (..., 3)."""
    if vector.shape[-1] != 3:
        raise ValueError(f"last axis of `vector` (={vector.shape[-1]}) must hold 3 coordinates")
    pure = torch.nn.functional.pad(vector, (1, 0))
    return product(product(q, pure), inverse(q))[..., 1:]


def _scaled(q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return q with its largest component scaled to 1, that scale as a constant, and where q is zero (1 stands there).

    Squares of small or large components would under- or overflow.
    """
    largest = q.detach().abs().amax(-1, keepdim=True)
    is_zero = largest == 0
    scale = torch.where(is_zero, 1, largest)
    one = torch.zeros_like(q.detach())
    one[..., 0] = 1
    return torch.where(is_zero, one, q / scale), scale, is_zero


def _infinite_real(q: Tensor) -> Tensor:
    infinite = torch.zeros_like(q.detach())
    infinite[..., 0] = torch.inf
    return infinite


def _check(q: Tensor, algebra: Algebra) -> None:
    if q.shape[-1] != algebra.n:
        raise ValueError(f"last axis (={q.shape[-1]}) must hold the {algebra.n} components of algebra {algebra.name!r}")
