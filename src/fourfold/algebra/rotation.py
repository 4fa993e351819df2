"""Rotations of space by quaternions: v ↦ q v q⁻¹ for any q ≠ 0, whose norm does not matter; q and −q rotate alike.

Every function is differentiable with finite gradients everywhere: at zero (which rotates nothing), at half turns, between
equal and between opposite quaternions. Half and bfloat16 are computed in float32 and rounded once.
"""

import torch
from torch import Tensor

from fourfold.algebra.algebra import QUATERNION
from fourfold.algebra.checking import check_components, check_coordinates, in_float32_at_least
from fourfold.algebra.elements import conjugate, dot, norm, power, product, scale_to_one, unit


@in_float32_at_least
def rotate(q: Tensor, vector: Tensor) -> Tensor:
    """Return the vector rotated by the quaternion: the imaginary part of q v q⁻¹.

    Shapes: q (..., 4), vector (..., 3), broadcast against each other → (..., 3).
    """
    check_components("q", q, QUATERNION)
    check_coordinates("vector", vector)
    scaled, _, _ = scale_to_one(q, torch.finfo(q.dtype).tiny)
    # Rodrigues' formula for any norm: q v q⁻¹ = v + 2 u × (u × v + r v) / |q|² for q = r + u.
    rv = scaled[..., :1] * vector
    u, v = scaled[..., 1:].expand_as(rv), vector.expand_as(rv)
    rotated: Tensor = v + 2 * torch.linalg.cross(u, torch.linalg.cross(u, v) + rv) / scaled.square().sum(-1, keepdim=True)
    return rotated


@in_float32_at_least
def rotation_matrix(q: Tensor) -> Tensor:
    """Return the matrix R with R v = `rotate(q, v)`. Shapes: q (..., 4) → (..., 3, 3)."""
    check_components("q", q, QUATERNION)
    scaled, _, _ = scale_to_one(q, torch.finfo(q.dtype).tiny)
    r, x, y, z = scaled.unbind(-1)
    s = 2 / scaled.square().sum(-1)
    entries = [
        *(1 - s * (y * y + z * z), s * (x * y - r * z), s * (x * z + r * y)),
        *(s * (x * y + r * z), 1 - s * (x * x + z * z), s * (y * z - r * x)),
        *(s * (x * z - r * y), s * (y * z + r * x), 1 - s * (x * x + y * y)),
    ]
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))  # type: ignore[no-untyped-call, no-any-return]


@in_float32_at_least
def from_rotation_matrix(matrix: Tensor) -> Tensor:
    """Return the unit quaternion, of real part ≥ 0, of a rotation matrix. Shapes: (..., 3, 3) → (..., 4).

    The matrix gives all products of two components (Bar-Itzhack 2000, equation 2): their row of the largest component
    (Shepperd 1978), normalised, is the quaternion, with no root of a number that may be 0. The matrix is taken to be a
    rotation; rounding errors in it stay as small.

    Raises:
        ValueError: the last two axes are not 3 × 3.
    """
    if matrix.shape[-2:] != (3, 3):
        raise ValueError(f"last two axes of `matrix` (={tuple(matrix.shape)}) must be 3 × 3")
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in matrix.unbind(-2))
    products = [
        *(1 + a + e + i, h - f, c - g, d - b),
        *(h - f, 1 + a - e - i, d + b, c + g),
        *(c - g, d + b, 1 - a + e - i, f + h),
        *(d - b, c + g, f + h, 1 - a - e + i),
    ]
    table = torch.stack(products, dim=-1).unflatten(-1, (4, 4))  # type: ignore[no-untyped-call]
    largest = table.detach().diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*table.shape[:-2], 1, 4)
    q = unit(table.gather(-2, largest).squeeze(-2))
    return _real_part_not_negative(q)


@in_float32_at_least
def from_axis_angle(axis: Tensor, angle: Tensor) -> Tensor:
    """Return the unit quaternion cos(angle / 2) + u sin(angle / 2), u being the axis normalised.

    Shapes: axis (..., 3), angle (...) in radians, broadcast against each other → (..., 4). An axis of zero rotates nothing.
    A rotation vector v, whose length is the angle, is `exp` of (0, v / 2).
    """
    check_coordinates("axis", axis)
    u = unit(axis)
    half = torch.where((u == 0).all(-1), 0, angle / 2).unsqueeze(-1)
    imaginary = half.sin() * u
    return torch.cat([half.cos().expand(*imaginary.shape[:-1], 1), imaginary], dim=-1)


@in_float32_at_least
def axis_angle(q: Tensor) -> tuple[Tensor, Tensor]:
    """Return the axis, of length 1, and the angle in radians, from 0 to π, of the rotation by q.

    Shapes: q (..., 4) → (..., 3), (...). What rotates nothing has the axis (1, 0, 0), as in Eigen, with a gradient of zero.
    Where the rotation vector must be smooth there, take 2 `log(unit(q))`.
    """
    check_components("q", q, QUATERNION)
    scaled, _, _ = scale_to_one(q, torch.finfo(q.dtype).tiny)
    scaled = _real_part_not_negative(scaled)
    angle = 2 * torch.atan2(norm(scaled[..., 1:]), scaled[..., 0])
    axis = unit(scaled[..., 1:])
    first = torch.tensor([1.0, 0.0, 0.0], dtype=axis.dtype, device=axis.device)
    return torch.where((axis == 0).all(-1, keepdim=True), first, axis), angle


@in_float32_at_least
def slerp(p: Tensor, q: Tensor, t: float | Tensor, shortest: bool = True) -> Tensor:
    """Return p (p⁻¹ q)^t for the unit quaternions of p and q: the great circle from p (t = 0) to q (t = 1) (Shoemake 1985).

    Shapes: p, q (..., 4), t a number or (...), all broadcast against each other → (..., 4). With `shortest`, q or −q is
    taken, whichever is nearer to p, since they rotate alike. From p to −p, where every great circle leads, it is the one
    through p·e₁.
    """
    check_components("p", p, QUATERNION)
    check_components("q", q, QUATERNION)
    start, end = unit(p), unit(q)
    if shortest:
        end = torch.where(dot(start, end).unsqueeze(-1) < 0, -end, end)
    return product(start, power(product(conjugate(start), end), t))


def _real_part_not_negative(q: Tensor) -> Tensor:
    return torch.where(q[..., :1] < 0, -q, q)
