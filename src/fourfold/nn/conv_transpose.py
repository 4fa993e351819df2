"""`ConvTranspose1d`, `ConvTranspose2d` and `ConvTranspose3d` in every algebra."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourfold.algebra import Algebra, get
from fourfold.algebra.learned import learned_matrix
from fourfold.nn import few_products
from fourfold.nn.base import check_divisible
from fourfold.nn.conv import ConvLayer, regroup

_FUNCTIONS = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _ConvTranspose(ConvLayer):
    """What the transposed convolutions share; `ConvTranspose2d` describes them."""

    padding: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
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
            in_channels,
            out_channels // algebra.n,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,
            device,
            dtype,
        )
        self.out_channels = out_channels
        if bias and algebra.n > 1:
            self.bias = nn.Parameter(self.bias.new_empty(out_channels))
        self._use(algebra)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the transposed convolution of x, plus the bias; `output_size` decides what the stride leaves open."""
        n, groups, weight, bias = self.algebra.n, self.groups, self.weight, self.bias
        rank = weight.dim() - 2
        if n == 1:
            return super().forward(input, output_size)  # type: ignore[no-any-return]
        output_padding = tuple(
            self._output_padding(  # type: ignore[operator]
                input, output_size, self.stride, self.padding, self.kernel_size, rank, self.dilation
            )
        )
        if self.is_product() and few_products.usable(input, weight, bias):
            products = self._products(input, weight)
            if products is not None:
                stride, padding, dilation = (
                    few_products.per_axis(value, rank) for value in (self.stride, self.padding, self.dilation)
                )
                geometry = few_products.Geometry(
                    stride, padding, dilation, True, few_products.per_axis(output_padding, rank), groups
                )
                output = self._by_products(input, weight, products, geometry)
                if output is not None:
                    return output
        matrix = self.expanded()
        # torch's groups are contiguous channels: bring each group's components together, and apart again.
        bias = None if bias is None else regroup(bias, 0, n, groups)
        convolve = _FUNCTIONS[rank]
        output = convolve(
            regroup(input, -rank - 1, n, groups), matrix, bias, self.stride, self.padding, output_padding, groups, self.dilation
        )
        return regroup(output, -rank - 1, groups, n)

    def _matrix_of(self, weight: Tensor, constants: Tensor | None = None) -> Tensor:
        n, groups = self.algebra.n, self.groups
        if n == 1:
            return weight
        expand = self.algebra.matrix if constants is None else partial(learned_matrix, constants)
        numbers, per_group = weight.shape[0] // n, weight.shape[1]
        parts = weight.reshape(n, groups, numbers // groups, per_group, *weight.shape[2:]).transpose(2, 3).unbind(1)
        return torch.cat([expand(part).transpose(0, 1) for part in parts])


class ConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):
    """`ConvTranspose2d` over one axis."""


class ConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):
    """A transposed convolution whose kernel entries are algebra elements; `real` is torch.nn's to the last bit.

    Every output element is a sum of products w·x, the weight on the left as in `Conv2d`. (The adjoint of that layer is
    another map: it multiplies with the conjugate of w.)

    Shapes: x (N, in_channels, *size) → (N, out_channels, *size'), channels blocked by component ([r…, x…, y…, z…]);
    weight (in_channels, out_channels / n / groups, *kernel), blocked by component along its first axis.
    With groups, group g joins the g-th part of the input *elements* with the g-th part of the output elements.

    Raises:
        ValueError: a number of channels is not divisible by the algebra's dimension n times the groups; a `padding_mode`
            other than `zeros`.
    """


class ConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):
    """`ConvTranspose2d` over three axes."""
