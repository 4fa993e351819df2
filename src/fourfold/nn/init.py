"""Initial weights whose real matrix has exactly the variance of the real twin's.

The published libraries miss it by up to four times either way, which a comparison of algebras then measures instead.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from fourfold.algebra import Algebra

SCHEMES = {
    "torch": lambda fan_in, fan_out: 1 / (3 * fan_in),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
}
"""Variance of a real weight from its fans: torch's own default, He et al. 2015, Glorot & Bengio 2010."""


def weight_(
    weight: Tensor, algebra: Algebra, groups: int = 1, scheme: str = "torch", generator: Generator | None = None
) -> None:
    """Fill a stored weight (out, in / n / groups, *kernel) in place.

    Real weights are drawn as torch draws them (uniform for `torch`, else normal); those of the other algebras in polar
    form (Parcollet et al. 2018), |w|(cos θ + u sin θ) with θ uniform, u a uniform imaginary direction and |w|² of mean
    n times the variance of the scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    if weight.numel() == 0:
        return
    kernel = weight[0, 0].numel()
    fan_in, fan_out = weight.shape[1] * algebra.n * kernel, weight.shape[0] // groups * kernel
    std = math.sqrt(SCHEMES[scheme](fan_in, fan_out))
    with torch.no_grad():
        if algebra.n == 1 and scheme == "torch":
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
        elif algebra.n == 1:
            weight.normal_(0, std, generator=generator)
        else:
            parts = weight.view(algebra.n, -1)
            weight.copy_(_polar(parts.shape[1], algebra.n, std, parts, generator).view_as(weight))


def bias_(bias: Tensor, fan_in: int, scheme: str = "torch", generator: Generator | None = None) -> None:
    """Fill a bias in place: uniform within 1 / √fan_in for `torch`, else zero."""
    bound = 1 / math.sqrt(fan_in) if scheme == "torch" and fan_in > 0 else 0.0
    nn.init.uniform_(bias, -bound, bound, generator=generator)


def _polar(count: int, n: int, std: float, like: Tensor, generator: Generator | None) -> Tensor:
    """Draw `count` numbers as rows of components (n, count)."""

    def draw(sampler: Callable[..., Tensor], *size: int) -> Tensor:
        return sampler(size, generator=generator, device=like.device, dtype=like.dtype)

    magnitude = draw(torch.randn, n, count).norm(dim=0) * std
    angle = (draw(torch.rand, count) * 2 - 1) * math.pi
    direction = nn.functional.normalize(draw(torch.randn, n - 1, count), dim=0)
    return torch.cat([(magnitude * angle.cos()).unsqueeze(0), magnitude * angle.sin() * direction])
