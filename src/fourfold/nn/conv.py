"""`Conv1d`, `Conv2d` and `Conv3d` in every algebra."""

from typing import Any

from torch import Tensor, nn

from fourfold.algebra import Algebra, get
from fourfold.nn.base import AlgebraLayer, check_divisible


class _Conv(AlgebraLayer):
    """What the convolutions share; `Conv2d` describes them."""

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
        algebra: str | Algebra = "real",
    ) -> None:
        algebra = get(algebra)
        if algebra.n > 1:
            check_divisible("in_channels", in_channels, algebra, groups)
            check_divisible("out_channels", out_channels, algebra, groups)
        super().__init__(
            in_channels // algebra.n,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        self.in_channels = in_channels
        self._use(algebra)

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of x, plus the bias."""
        n, groups = self.algebra.n, self.groups
        if n == 1 or groups == 1:
            return self._conv_forward(input, self.matrix(), self.bias)  # type: ignore[operator, no-any-return]
        # torch's groups are contiguous channels: bring each group's components together, and apart again.
        bias = None if self.bias is None else _regroup(self.bias, 0, n, groups)
        grouped = _regroup(input, -len(self.kernel_size) - 1, n, groups)  # type: ignore[arg-type]
        output = self._conv_forward(grouped, self.matrix(), bias)  # type: ignore[operator]
        return _regroup(output, -len(self.kernel_size) - 1, groups, n)  # type: ignore[arg-type]


def _regroup(tensor: Tensor, axis: int, outer: int, inner: int) -> Tensor:
    """Reorder an axis from (outer, inner, rest) to (inner, outer, rest)."""
    axis %= tensor.dim()
    split = tensor.unflatten(axis, (outer, inner, -1))  # type: ignore[no-untyped-call]
    regrouped: Tensor = split.transpose(axis, axis + 1).flatten(axis, axis + 2)
    return regrouped


class Conv1d(_Conv, nn.Conv1d):
    """`Conv2d` over one axis."""


class Conv2d(_Conv, nn.Conv2d):
    """A convolution whose kernel entries are algebra numbers; `real` is torch.nn's to the last bit.

    Shapes: x (N, in_channels, *size) → (N, out_channels, *size'), channels blocked by component ([r…, x…, y…, z…]);
    weight (out_channels, in_channels / n / groups, *kernel), blocked by component along its first axis.
    With groups, group g joins the g-th part of the input *numbers* with the g-th part of the output numbers.

    Raises:
        ValueError: a number of channels is not divisible by the algebra's dimension n times the groups.
    """


class Conv3d(_Conv, nn.Conv3d):
    """`Conv2d` over three axes."""
