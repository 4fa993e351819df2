"""Batch normalisation of each component alone (Yin et al. 2019): torch's, over the real channels."""

from typing import Any

from torch import nn

from fourfold.algebra import Algebra
from fourfold.nn.base import check_divisible, fixed
from fourfold.nn.components import NumberLayer


class ComponentNorm(NumberLayer):
    """What the batch norms share; `BatchNorm2d` describes them."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
        **options: Any,
    ) -> None:
        algebra = fixed(algebra)
        check_divisible("num_features", num_features, algebra)
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, **options)
        self.algebra = algebra


class BatchNorm1d(ComponentNorm, nn.BatchNorm1d):
    """`BatchNorm2d` over (N, num_features) or (N, num_features, L)."""


class BatchNorm2d(ComponentNorm, nn.BatchNorm2d):
    """Batch norm with a mean, a variance, a scale and a shift for every component of every element.

    Shapes: x (N, num_features, H, W) → the same. It computes what torch.nn's does; the algebra is checked and shown.

    Raises:
        ValueError: `num_features` is not divisible by the algebra's dimension.
    """


class BatchNorm3d(ComponentNorm, nn.BatchNorm3d):
    """`BatchNorm2d` over (N, num_features, D, H, W)."""
