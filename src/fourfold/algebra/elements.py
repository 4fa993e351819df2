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
    """Return q* / |q|², so that q·inverse(q) = 1; the inverse of zero is infinite. Shapes: (..., n) → (..., n)."""
    return conjugate(q) / q.square().sum(-1, keepdim=True)


def exp(q: Tensor) -> Tensor:
    """Return e^q = e^r (cos|v| + v sin|v| / |v|) for q = r + v. Shapes: (..., n) → (..., n)."""
    real, vector = q[..., :1], q[..., 1:]
    angle = _safe_norm(vector)
    return real.exp() * torch.cat([angle.cos(), vector * torch.special.sinc(angle / torch.pi)], dim=-1)


def log(q: Tensor) -> Tensor:
    """Return the principal logarithm log|q| + v · (angle of q) / |v| for q = r + v. Shapes: (..., n) → (..., n).

    On the negative real axis, where every unit vector is a direction, the imaginary part is 0.
    """
    real, vector = q[..., :1], q[..., 1:]
    length = _safe_norm(vector)
    angle = torch.atan2(length, real)
    tiny = length < torch.finfo(q.dtype).eps
    ratio = torch.where(tiny, 1 / torch.where(real == 0, 1, real), angle / torch.where(tiny, 1, length))
    return torch.cat([0.5 * q.square().sum(-1, keepdim=True).log(), vector * ratio], dim=-1)


def rotate(q: Tensor, vector: Tensor) -> Tensor:
    """Return the vector rotated by the quaternion: the imaginary part of q v q⁻¹. Shapes: (..., 4), (..., 3) → (..., 3)."""
    pure = torch.nn.functional.pad(vector, (1, 0))
    return product(product(q, pure), inverse(q))[..., 1:]


def _safe_norm(vector: Tensor) -> Tensor:
    """The norm, kept as an axis of one."""
    length: Tensor = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return length


def _check(q: Tensor, algebra: Algebra) -> None:
    if q.shape[-1] != algebra.n:
        raise ValueError(f"last axis (={q.shape[-1]}) must hold the {algebra.n} components of algebra {algebra.name!r}")
