"""Parameterised hypercomplex multiplication: linear and convolution layers that learn their algebra, for any n.

Zhang et al. 2021, "Beyond Fully-Connected Layers with Quaternions" (linear); Grassucci et al. 2022, "PHNNs" (convolutions).
"""

from typing import Any, cast

from fourfold.algebra import Algebra, LearnedAlgebra
from fourfold.nn.base import AlgebraLayer
from fourfold.nn.conv import Conv1d, Conv2d, Conv3d
from fourfold.nn.linear import Linear
from fourfold.record import UserError


def _own_or_shared(algebra: LearnedAlgebra | None, n: int | None, start: str | Algebra | None, **place: Any) -> Algebra:
    """Return the algebra that layers share, or a new one. A layer asks no more of it than of a fixed one."""
    if algebra is None:
        return cast(Algebra, LearnedAlgebra(n, "random" if start is None else start, **place))
    if n not in (None, algebra.n) or start is not None:
        raise UserError(f"`n` (={n}) and `start` (={start!r}) must be left out with `algebra`, which has its own")
    return cast(Algebra, algebra)


class PHMLinear(Linear):
    """y = W·x + b with W = Σ_i A_i ⊗ S_i: a linear layer over an algebra that is learned with it.

    Shapes: x (..., in_features) → (..., out_features), features blocked by component; weight (out_features, in_features / n),
    the S_i one after another; `algebra.constants` (n, n, n). From `start="quaternion"` and the same weight it computes what
    `Linear(..., algebra="quaternion")` does.

    Args:
        in_features: Inputs, divisible by n.
        out_features: Outputs, divisible by n.
        bias: Whether to add one.
        device: Where the parameters lie.
        dtype: Their type.
        n: Dimension of the layer's own algebra. Default: that of `start`.
        start: What the layer's own algebra starts from, `random` (the default) or a fixed algebra.
        algebra: A `LearnedAlgebra` to share with other layers, instead of `n` and `start`.

    Raises:
        ValueError: a size is not divisible by n, n is missing or does not fit `start`, or both ways to say it are taken.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        n: int | None = None,
        start: str | Algebra | None = None,
        algebra: LearnedAlgebra | None = None,
    ) -> None:
        learned = _own_or_shared(algebra, n, start, device=device, dtype=dtype)
        super().__init__(in_features, out_features, bias, device, dtype, algebra=learned)


class _PHMConv(AlgebraLayer):
    """What the convolutions share; `PHMConv2d` describes them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        n: int | None = None,
        start: str | Algebra | None = None,
        algebra: LearnedAlgebra | None = None,
    ) -> None:
        learned = _own_or_shared(algebra, n, start, device=device, dtype=dtype)
        options = (stride, padding, dilation, groups, bias, padding_mode, device, dtype)
        super().__init__(in_channels, out_channels, kernel_size, *options, algebra=learned)


class PHMConv1d(_PHMConv, Conv1d):
    """`PHMConv2d` over one axis."""


class PHMConv2d(_PHMConv, Conv2d):
    """A convolution whose kernel is Σ_i A_i ⊗ S_i, over an algebra that is learned with it; see `PHMLinear`.

    Shapes: x (N, in_channels, *size) → (N, out_channels, *size'), channels blocked by component; weight
    (out_channels, in_channels / n / groups, *kernel); `algebra.constants` (n, n, n). Groups are those of `Conv2d`.

    Raises:
        ValueError: as `PHMLinear`, and a number of channels is not divisible by n times the groups.
    """


class PHMConv3d(_PHMConv, Conv3d):
    """`PHMConv2d` over three axes."""
