"""Arithmetic of elements: tensors whose last axis holds the n components, broadcast over all others.

Every function is differentiable, with finite gradients everywhere, also at zero, as far as the type can hold them. Half and
bfloat16 are computed in float32 where digits would be lost on the way, and rounded once.
"""

import torch
from torch import Tensor

from fourfold.algebra.algebra import QUATERNION, Algebra
from fourfold.algebra.checking import check_components, in_float32_at_least


def product(p: Tensor, q: Tensor, algebra: Algebra = QUATERNION) -> Tensor:
    """Return p·q: for quaternions the Hamilton product, equation (3) of paper 1.

    Shapes: p, q (..., n), broadcast against each other → (..., n).
    """
    check_components("p", p, algebra)
    check_components("q", q, algebra)
    rows = [sum(s * p[..., c] * q[..., b] for b, (c, s) in enumerate(row)) for row in algebra.left_table]
    return torch.stack([row for row in rows if isinstance(row, Tensor)], dim=-1)


def dot(p: Tensor, q: Tensor) -> Tensor:
    """Return the inner product of the components: the real part of p*·q, and cos of the angle between unit numbers.

    Shapes: p, q (..., n), broadcast against each other → (...).

    Raises:
        ValueError: the last axes differ.
    """
    if p.shape[-1:] != q.shape[-1:] or p.dim() == 0:
        raise ValueError(f"last axes of `p` (={tuple(p.shape)}) and `q` (={tuple(q.shape)}) must hold as many components")
    return (p * q).sum(-1)


def conjugate(q: Tensor) -> Tensor:
    """Return q with the imaginary components negated. Shapes: (..., n) → (..., n)."""
    return torch.cat([q[..., :1], -q[..., 1:]], dim=-1)


def norm(q: Tensor) -> Tensor:
    """Return |q|, the Euclidean norm of the components; its gradient at zero is zero. Shapes: (..., n) → (...)."""
    length: Tensor = torch.linalg.vector_norm(q, dim=-1)
    return length


@in_float32_at_least
def unit(q: Tensor) -> Tensor:
    """Return q / |q|, of norm 1. Shapes: (..., n) → (..., n).

    Zero has no direction: it stays zero, with a gradient of zero, and so do numbers too small to be divided by.
    """
    scaled, _, is_zero = scale_to_one(q, torch.finfo(q.dtype).tiny)
    return torch.where(is_zero, 0, scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True))


@in_float32_at_least
def inverse(q: Tensor) -> Tensor:
    """Return q* / |q|², so that q·inverse(q) = 1. Shapes: (..., n) → (..., n).

    Zero has no inverse: its components are infinite (the real one) and zero, with a gradient of zero.
    """
    scaled, scale, is_zero = scale_to_one(q)
    inverted = conjugate(scaled) / scaled.square().sum(-1, keepdim=True) / scale
    return torch.where(is_zero, _real(torch.inf, q), inverted)


@in_float32_at_least
def exp(q: Tensor) -> Tensor:
    """Return e^q = e^r (cos|v| + v sin|v| / |v|) for q = r + v. Shapes: (..., n) → (..., n)."""
    real, vector = q[..., :1], q[..., 1:]
    angle = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return real.exp() * torch.cat([angle.cos(), vector * torch.special.sinc(angle / torch.pi)], dim=-1)


@in_float32_at_least
def log(q: Tensor) -> Tensor:
    """Return the principal logarithm log|q| + v · (angle of q) / |v| for q = r + v. Shapes: (..., n) → (..., n).

    On the negative real axis, where every unit vector is a direction, the imaginary part is 0; log 0 = −∞, with a gradient
    of zero.
    """
    scaled, scale, is_zero = scale_to_one(q)
    real, vector = scaled[..., :1], scaled[..., 1:]
    length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    tiny = length < torch.finfo(q.dtype).eps
    near_axis = 1 / torch.where(tiny, real, 1)
    ratio = torch.where(tiny, near_axis, torch.atan2(length, real) / torch.where(tiny, 1, length))
    logarithm = torch.cat([0.5 * scaled.square().sum(-1, keepdim=True).log() + scale.log(), vector * ratio], dim=-1)
    return torch.where(is_zero, _real(-torch.inf, q), logarithm)


@in_float32_at_least
def power(q: Tensor, exponent: float | Tensor) -> Tensor:
    """Return q^t = |q|^t (cos tθ + u sin tθ) for q = |q| (cos θ + u sin θ) with 0 ≤ θ ≤ π.

    Shapes: q (..., n), exponent a number or (...), broadcast against q without its last axis → (..., n).
    Integer exponents give repeated products. On the negative real axis, where every unit vector is a direction, u = e₁, so
    that `power(q, 1/2)²` = q everywhere (for n = 1 it is nan, as torch's). 0^t is 0, 1 or infinite for t > 0, t = 0 and
    t < 0, with a gradient of zero.
    """
    t = torch.as_tensor(exponent, dtype=q.dtype, device=q.device).unsqueeze(-1)
    scaled, scale, is_zero = scale_to_one(q)
    if q.shape[-1] == 1:
        powered = scaled.pow(t) * scale.pow(t)
    else:
        powered = scaled.square().sum(-1, keepdim=True).pow(t / 2) * scale.pow(t) * _times_angle(scaled, t)
    of_zero = torch.where(t > 0, 0, torch.where(t == 0, 1, torch.inf)).to(q.dtype)
    return torch.where(is_zero, _real(of_zero, powered), powered)


def _times_angle(q: Tensor, t: Tensor) -> Tensor:
    """Return cos tθ + u sin tθ for the angle θ and the direction u of q ≠ 0.

    The angle φ is measured from the nearer half of the real axis, θ = φ or θ = π − φ: near π no digits are lost, and the
    terms without u, all that integer exponents leave, are smooth at both halves.
    """
    real, vector = q[..., :1], q[..., 1:]
    length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    negative, on_axis = real < 0, length < torch.finfo(q.dtype).eps
    size = torch.where(negative, -real, real)
    t_phi = t * torch.atan2(length, size)
    sine_by_length = torch.where(on_axis, t / torch.where(on_axis, size, 1), t_phi.sin() / torch.where(on_axis, 1, length))
    # sin πt must be exactly 0 for an integer t: it is multiplied with u, whose gradient grows without bound near the axis.
    whole = t.round()
    parity = 1 - 2 * whole.remainder(2)
    cos_half_turns = torch.where(negative, parity * (torch.pi * (t - whole)).cos(), 1)
    sin_half_turns = torch.where(negative, parity * (torch.pi * (t - whole)).sin(), 0)
    direction = unit(vector)
    direction = torch.where((direction == 0).all(-1, keepdim=True), _real(1, vector), direction)
    along = torch.where(negative, -cos_half_turns, 1) * sine_by_length * vector
    cosine = cos_half_turns * t_phi.cos() + sin_half_turns * sine_by_length * length
    return torch.cat([cosine, along + sin_half_turns * t_phi.cos() * direction], dim=-1)


def scale_to_one(q: Tensor, zero: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return q with its largest component scaled to 1, that scale as a constant, and where q is zero (1 stands there).

    Squares of small or large components would under- or overflow. All up to `zero` counts as zero.
    """
    largest = q.detach().abs().amax(-1, keepdim=True)
    is_zero = largest <= zero
    scale = torch.where(is_zero, 1, largest)
    return torch.where(is_zero, _real(1, q), q / scale), scale, is_zero


def _real(value: float | Tensor, like: Tensor) -> Tensor:
    """Return a number with this real part and nothing else, of the shape and type of another."""
    first = torch.zeros_like(like[..., :1], dtype=torch.bool).logical_not()
    is_real = torch.cat([first, torch.zeros_like(like[..., 1:], dtype=torch.bool)], dim=-1)
    return torch.where(is_real, value, 0).to(like.dtype)
