"""Initial weights whose real matrix has exactly the variance of the real twin's.

The published libraries miss it by up to four times either way, which a comparison of algebras then measures instead. A
*scheme* names the variance, a *form* the distribution that has it.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from fourfold.algebra import REAL, Algebra, LearnedAlgebra
from fourfold.record.errors import UserError, unknown

SCHEMES = {
    "torch": lambda fan_in, fan_out: 1 / (3 * fan_in),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
}
"""Variance of a real weight from its fans: torch's own default, He et al. 2015, Glorot & Bengio 2010."""


def weight_(
    weight: Tensor,
    algebra: Algebra | LearnedAlgebra,
    groups: int = 1,
    scheme: str = "torch",
    generator: Generator | None = None,
    form: str = "polar",
) -> None:
    """Fill a stored weight (out, in / n / groups, *kernel) in place, in one of `FORMS` with the variance of a scheme.

    Real weights have no angle: their `polar` is what torch draws (uniform for `torch`, else normal). Nor have those of an
    algebra learned from a random start: theirs is `normal`.

    Raises:
        ValueError: an unknown scheme or form, or `orthogonal` in an algebra that has no such matrices.
    """
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    std = standard_deviation(weight, algebra.n, groups, scheme)
    if weight.numel() == 0 or weight.is_meta:
        return
    if weight.is_complex() and (algebra.n > 1 or form != "polar"):
        # Two draws, for torch's uniform numbers have the variance twice and its normal ones half of it in each part.
        parts = [torch.empty_like(weight.real, memory_format=torch.contiguous_format) for _ in range(2)]
        for part in parts:
            weight_(part, algebra, groups, scheme, generator, form)
        with torch.no_grad():
            weight.copy_(torch.complex(*parts) * (1 if scheme == "torch" else math.sqrt(0.5)))
        return
    if isinstance(algebra, LearnedAlgebra):
        if form == "polar" and algebra.start is None:
            form = "normal"
        std /= math.sqrt(algebra.variance_gain(_component_variances(algebra.n, form)))
    with torch.no_grad():
        if algebra.n == 1 and form == "polar" and scheme == "torch":
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
        elif algebra.n == 1 and form == "polar":
            weight.normal_(0, std, generator=generator)
        else:
            numbers = weight.reshape(algebra.n, groups, weight.shape[0] // algebra.n // groups, -1)
            weight.copy_(FORMS[form](numbers, algebra, std, generator).view_as(weight))


def standard_deviation(weight: Tensor, n: int, groups: int = 1, scheme: str = "torch") -> float:
    """Return what a scheme gives the real matrix of a stored weight (out, in / n / groups, *kernel); 0 if it is empty.

    Raises:
        ValueError: an unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    if weight.numel() == 0:
        return 0.0
    kernel = weight[0, 0].numel()
    fan_in, fan_out = weight.shape[1] * n * kernel, weight.shape[0] // groups * kernel
    return math.sqrt(SCHEMES[scheme](fan_in, fan_out))


def bias_(bias: Tensor, fan_in: int, scheme: str = "torch", generator: Generator | None = None) -> None:
    """Fill a bias in place: uniform within 1 / √fan_in for `torch`, else zero."""
    bound = 1 / math.sqrt(fan_in) if scheme == "torch" and fan_in > 0 else 0.0
    nn.init.uniform_(bias, -bound, bound, generator=generator)


Form = Callable[[Tensor, Algebra | LearnedAlgebra, float, Generator | None], Tensor]
"""Draws numbers (n, groups, out, in · kernel) like the given ones, each component with the given standard deviation."""


def _component_variances(n: int, form: str) -> list[float]:
    """Return the variances of the components, whose mean is 1: half of a polar number's is that of its real part."""
    return [n / 2, *[n / (2 * (n - 1))] * (n - 1)] if form == "polar" else [1.0] * n


def _polar(like: Tensor, algebra: Algebra | LearnedAlgebra, std: float, generator: Generator | None) -> Tensor:
    """|w| (cos θ + u sin θ): θ uniform, u a uniform imaginary direction, |w| that of normal components (Parcollet 2018)."""
    n, *shape = like.shape
    count = math.prod(shape)
    magnitude = _lengths(_draw(torch.randn, like, generator, n, count)) * std
    angle = (_draw(torch.rand, like, generator, count) * 2 - 1) * math.pi
    direction = _normalized(_draw(torch.randn, like, generator, n - 1, count))
    return torch.cat([(magnitude * angle.cos()).unsqueeze(0), magnitude * angle.sin() * direction]).view_as(like)


def _normal(like: Tensor, algebra: Algebra | LearnedAlgebra, std: float, generator: Generator | None) -> Tensor:
    """Independent normal components."""
    return _draw(torch.randn, like, generator, *like.shape) * std


def _uniform(like: Tensor, algebra: Algebra | LearnedAlgebra, std: float, generator: Generator | None) -> Tensor:
    """Independent uniform components within √3 standard deviations."""
    return (_draw(torch.rand, like, generator, *like.shape) * 2 - 1) * (math.sqrt(3) * std)


def _unitary(like: Tensor, algebra: Algebra | LearnedAlgebra, std: float, generator: Generator | None) -> Tensor:
    """Numbers of one norm, √n standard deviations, in a uniform direction: multiples of unit numbers."""
    n = like.shape[0]
    direction = _normalized(_draw(torch.randn, like, generator, n, like[0].numel()))
    return (direction * (math.sqrt(n) * std)).view_as(like)


def _orthogonal(like: Tensor, algebra: Algebra | LearnedAlgebra, std: float, generator: Generator | None) -> Tensor:
    """Matrices over the algebra, one a group, whose real matrix has orthonormal rows or columns (the fewer), times a number.

    The kernel's axes belong to the columns, as in `torch.nn.init.orthogonal_`. The mean square is exactly the variance.
    """
    if isinstance(algebra, LearnedAlgebra) or not algebra.normed:
        raise UserError(f"`form` (='orthogonal') needs an algebra with |p·q| = |p| |q|, which {algebra.name!r} is not")
    n, groups, out, columns = like.shape
    long, short = max(out, columns), min(out, columns)
    blocks = [_orthonormal_columns(algebra, long, short, like.device, generator) for _ in range(groups)]
    if out < columns:  # the conjugate transpose, whose real matrix is the transposed real matrix
        blocks = [torch.cat([q[:1], -q[1:]]).transpose(1, 2) for q in blocks]
    return torch.stack(blocks, dim=1).to(like.dtype) * (std * math.sqrt(n * long))


def _orthonormal_columns(
    algebra: Algebra, rows: int, columns: int, device: torch.device, generator: Generator | None
) -> Tensor:
    """Return elements (n, rows, columns), rows ≥ columns, whose real matrix has orthonormal columns; uniform if associative.

    In float64: the structure of the factors is as exact as the square matrix is well conditioned.
    """
    n = algebra.n
    if not algebra.associative:
        # No octonion matrices multiply as their real matrices do, so there is no QR. Unit numbers u_o times a real
        # orthonormal matrix: Σ_o R_oi R_oj L(u_o)ᵀ L(u_o) = Σ_o R_oi R_oj is the identity.
        units = _normalized(torch.randn(n, rows, generator=generator, device=device, dtype=torch.float64))
        return units.unsqueeze(2) * _orthonormal_columns(REAL, rows, columns, device, generator)
    normal = torch.randn(n, rows, columns, generator=generator, device=device, dtype=torch.float64)
    # With each element's n × n block kept together, the algebra's own QR, whose R has positive reals on the diagonal, is a
    # real QR; and that with a positive diagonal is unique. So the real Q consists of the matrices of elements.
    blocks = algebra.matrix(normal).view(n, rows, n, columns).permute(1, 0, 3, 2)
    q, r = torch.linalg.qr(blocks.reshape(rows * n, columns * n))
    q *= r.diagonal().sign()
    first: Tensor = q.view(rows, n, columns, n)[..., 0]  # the first column of an element's matrix is the number
    return first.permute(1, 0, 2)


FORMS: dict[str, Form] = {
    "polar": _polar,
    "normal": _normal,
    "uniform": _uniform,
    "unitary": _unitary,
    "orthogonal": _orthogonal,
}
"""Distribution of the numbers around the variance that the scheme names."""


def _draw(sampler: Callable[..., Tensor], like: Tensor, generator: Generator | None, *size: int) -> Tensor:
    return sampler(size, generator=generator, device=like.device, dtype=like.dtype)


def _lengths(numbers: Tensor) -> Tensor:
    """Return the norms of elements (n, count), to the bit those of torch's slow reduction of a leading axis."""
    if numbers.device.type != "cpu" or numbers.dtype is not torch.float32:
        return numbers.norm(dim=0)  # type: ignore[no-any-return]
    # Rows of a multiple of four are summed up in the same order, at a fifth of the time.
    n, count = numbers.shape
    rows = numbers.new_zeros(count, -(-n // 4) * 4)
    rows[:, :n] = numbers.t()
    return rows.norm(dim=1)  # type: ignore[no-any-return]


def _normalized(numbers: Tensor) -> Tensor:
    return numbers / _lengths(numbers).clamp_min(1e-12)
