"""Arithmetic of elements: tensors whose last axis holds the n components, broadcast over all others.

Every function is differentiable, with finite gradients everywhere, also at zero, as far as the type can hold them. Half and
bfloat16 are computed in float32 where digits would be lost on the way, and rounded once.
"""

import math
from collections.abc import Sequence

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


@in_float32_at_least
def norm(q: Tensor) -> Tensor:
    """Return |q|, the Euclidean norm of the components; its gradient at zero is zero. Shapes: (..., n) → (...)."""
    return norm_of_parts(q.unbind(-1))


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
    """Return e^q = e^r (cos|v| + v sin|v| / |v|) for q = r + v, with a gradient of zero where e^r overflows.

    Shapes: (..., n) → (..., n).
    """
    real, vector = q[..., :1], q[..., 1:]
    angle = norm_of_parts(vector.unbind(-1)).unsqueeze(-1) if q.shape[-1] > 1 else torch.zeros_like(real)
    phase = torch.cat([angle.cos(), vector * torch.special.sinc(angle / torch.pi)], dim=-1)
    # Where e^r overflows, half of it is multiplied twice, so that components of zero stay zero and small ones finite.
    with torch.no_grad():
        overflows = real.exp().isinf()
        half = torch.where(overflows, (real / 2).clamp_max(math.log(torch.finfo(q.dtype).max) - 1), 0).exp()
    size = torch.where(overflows, 0, real).exp()
    return size * torch.where(overflows, phase.detach(), phase) * half * half


@in_float32_at_least
def log(q: Tensor) -> Tensor:
    """Return the principal logarithm log|q| + v · (angle of q) / |v| for q = r + v. Shapes: (..., n) → (..., n).

    On the negative real axis, where every unit vector is a direction, the imaginary part is 0; next to it, it is close to
    π v / |v|. log 0 = −∞, with a gradient of zero.
    """
    scaled, scale, is_zero = scale_to_one(q)
    logarithm = 0.5 * scaled.square().sum(-1, keepdim=True).log() + scale.log()
    if q.shape[-1] > 1:
        real, vector = scaled[..., :1], scaled[..., 1:]
        length = norm_of_parts(vector.unbind(-1)).unsqueeze(-1)
        angle, tiny = torch.atan2(length, real), length < torch.finfo(q.dtype).eps
        near_axis = 1 / torch.where(tiny, real, 1)
        ratio = torch.where(tiny, near_axis, angle / torch.where(tiny, 1, length))
        # The quotient of a tiny length would overflow beside the negative axis.
        beside_negative = tiny & (real < 0)
        imaginary = torch.where(beside_negative, torch.where(beside_negative, angle, 0) * unit(vector), vector * ratio)
        logarithm = torch.cat([logarithm, imaginary], dim=-1)
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
        phase, size = _times_angle(scaled, t), scaled.square().sum(-1, keepdim=True).pow(t / 2) * scale.pow(t)
        powered = torch.where(size.isinf() & (phase == 0), 0, size) * phase  # a component of zero is not nan beyond the range
    of_zero = torch.where(t > 0, 0, torch.where(t == 0, 1, torch.inf)).to(q.dtype)
    return torch.where(is_zero, _real(of_zero, powered), powered)


def _times_angle(q: Tensor, t: Tensor) -> Tensor:
    """Return cos tθ + u sin tθ for the angle θ and the direction u of q ≠ 0.

    The angle φ is measured from the nearer half of the real axis, θ = φ or θ = π − φ: near π no digits are lost, and the
    terms without u, all that integer exponents leave, are smooth at both halves.
    """
    real, vector = q[..., :1], q[..., 1:]
    length = norm_of_parts(vector.unbind(-1)).unsqueeze(-1)
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


def norm_of_parts(parts: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm √Σ part² of tensors of equal shape, element by element, of float32 or better.

    It neither over- nor underflows as long as the type can hold it, and its gradient at zero is zero. Elements whose squares
    are too large or too small are scaled by a power of two, which no digit sees (Blue 1978); all others not at all. With
    these powers nothing underflows in the derivative either.
    """
    if len(parts) == 1:
        return parts[0].abs()
    exponent = math.frexp(torch.finfo(parts[0].dtype).max)[1]  # 128 for float32
    smallest = 2.0 ** (-exponent * 25 // 32)
    if _may_look(parts[0]):
        squares = _sum_of_squares(parts)
        least, largest = (float(value) for value in squares.detach().aminmax()) if squares.numel() else (1.0, 1.0)
        if least >= smallest and largest < math.inf:
            return squares.sqrt()
    with torch.no_grad():
        rough = _sum_of_squares([part.detach() for part in parts])
        factor = torch.ones_like(rough).masked_fill(rough < smallest, 2.0 ** (exponent * 43 // 64))
        factor = factor.masked_fill(rough.isinf(), 2.0 ** (-exponent * 9 // 16))
    squares = _sum_of_squares([part * factor for part in parts])
    is_zero = squares == 0  # the square root has an infinite slope there
    return torch.where(is_zero, 0, torch.where(is_zero, 1, squares).sqrt() / factor)


def _may_look(tensor: Tensor) -> bool:
    """Whether values may decide what is computed: those of an ordinary CPU tensor in plain eager mode."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False
    if torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():
        return False
    is_batched = torch._C._functorch.is_legacy_batchedtensor(tensor)
    return type(tensor) is Tensor and tensor.is_cpu and not is_batched


def _sum_of_squares(parts: Sequence[Tensor]) -> Tensor:
    """Part by part: `torch.linalg.vector_norm` over an axis of four takes 50 to 100 times as long on a CPU."""
    total = parts[0].square()
    for part in parts[1:]:
        total = torch.addcmul(total, part, part)
    return total


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
