"""`Conv1d`, `Conv2d` and `Conv3d` in every algebra."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourfold.algebra import Algebra, get
from fourfold.nn import cancellation, few_products
from fourfold.nn.base import AlgebraLayer, check_divisible
from fourfold.nn.caching import cached
from fourfold.nn.components import channels_last
from fourfold.nn.matrix_gradients import Reference
from fourfold.nn.native_convolution import by_native_kernels
from fourfold.nn.product_algorithms import PRODUCTS, Products


class ConvLayer(AlgebraLayer):
    """What convolutions and transposed ones share: the products of their algebra, behind torch's own layer."""

    in_channels: int
    stride: Any
    dilation: Any
    transposed: bool

    def _products(self, input: Tensor, weight: Tensor) -> Products | None:
        """Return the algebra's few products where they are known and faster than the real matrix."""
        n, rank = self.algebra.n, weight.dim() - 2
        axis = input.dim() - rank - 1
        channels = weight.shape[0] if self.transposed else weight.shape[1] * n * self.groups
        if axis not in (0, 1) or input.shape[axis] != channels:
            return None
        batched, stride = input if axis else input.unsqueeze(0), few_products.per_axis(self.stride, rank)
        pays = few_products.convolution_pays(batched, weight, n, stride, self.groups, self.transposed)
        return PRODUCTS[input.dtype].get(self.algebra) if pays else None

    def _by_products(self, input: Tensor, weight: Tensor, products: Products, geometry: few_products.Geometry) -> Tensor | None:
        """Convolve by the products, or return None where they would not be accurate.

        No channel moves, for a group joins numbers with numbers in each of them.
        """
        n, groups, algebra = self.algebra.n, self.groups, self.algebra

        def expanded(input: Tensor, weight: Tensor) -> Tensor:
            grouped = regroup(input, 1, n, groups)
            return regroup(torch.convolution(grouped, self._matrix_of(weight), None, *geometry), 1, groups, n)

        batched = input if input.dim() == weight.dim() else input.unsqueeze(0)
        make = partial(few_products.prepared, products=products, groups=groups, transposed=self.transposed)
        kernels, by_input, by_output = cached(self, "products", make, (weight,), (products, groups))
        if not cancellation.of_output_is_kept(batched, by_input, algebra):
            return None
        reference = Reference(expanded, algebra, by_output)
        output = few_products.convolution(batched, weight, kernels, self.bias, products, geometry, reference)
        if not few_products.succeeded(output):
            return None
        return output if batched is input else output.squeeze(0)


class _Conv(ConvLayer):
    """What the convolutions share; `Conv2d` describes them."""

    padding: Any
    padding_mode: Any
    _reversed_padding_repeated_twice: list[int]

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
        n, groups, weight, bias = self.algebra.n, self.groups, self.weight, self.bias
        if isinstance(self, nn.Conv2d) and n > 1 and self.is_product():
            output = by_native_kernels(self, self.algebra, input, self._convolved)
            if output is not None:
                return output
        if n > 1 and self.is_product() and few_products.usable(input, weight, bias):
            products = self._products(input, weight)
            if products is not None:
                padded, geometry = self._padded(input, weight)
                output = self._by_products(padded, weight, products, geometry)
                if output is not None:
                    return output
        matrix = self.expanded()
        if n == 1 or groups == 1:
            return self._conv_forward(input, matrix, bias)  # type: ignore[operator, no-any-return]
        # torch's groups are contiguous channels: bring each group's components together, and apart again.
        bias = None if bias is None else regroup(bias, 0, n, groups)
        channels = 1 - weight.dim()
        output = self._conv_forward(regroup(input, channels, n, groups), matrix, bias)  # type: ignore[operator]
        return regroup(output, channels, groups, n)

    def _convolved(self, input: Tensor, weight: Tensor) -> Tensor:
        """Return the convolution with a stored weight by its real matrix, without bias."""
        return self._conv_forward(input, self._matrix_of(weight.to(input.dtype)), None)  # type: ignore[operator, no-any-return]

    def _products(self, input: Tensor, weight: Tensor) -> Products | None:
        if self.padding == "same" and any(step > 1 for step in few_products.per_axis(self.stride, weight.dim() - 2)):
            return None  # torch refuses that
        return super()._products(input, weight)

    def _padded(self, input: Tensor, weight: Tensor) -> tuple[Tensor, few_products.Geometry]:
        """Return what to convolve: with the padding around it, where that is more than the same zeros on both sides.

        What is read is what torch's layer reads, at each call.
        """
        rank = weight.dim() - 2
        stride, dilation, zeros = (
            few_products.per_axis(self.stride, rank),
            few_products.per_axis(self.dilation, rank),
            (0,) * rank,
        )
        geometry = few_products.Geometry(stride, zeros, dilation, False, zeros, self.groups)
        if self.padding_mode != "zeros":
            return F.pad(input, self._reversed_padding_repeated_twice, self.padding_mode), geometry
        if not isinstance(self.padding, str):
            return input, geometry._replace(padding=few_products.per_axis(self.padding, rank))
        if self.padding == "valid":
            return input, geometry
        totals = [steps * (size - 1) for steps, size in zip(dilation, weight.shape[2:], strict=True)]
        if all(total % 2 == 0 for total in totals):
            return input, geometry._replace(padding=tuple(total // 2 for total in totals))
        return F.pad(input, [side for total in reversed(totals) for side in (total // 2, total - total // 2)]), geometry


def regroup(tensor: Tensor, axis: int, outer: int, inner: int) -> Tensor:
    """Reorder an axis from (outer, inner, rest) to (inner, outer, rest)."""
    axis %= tensor.dim()
    if axis == 1 and channels_last(tensor) is not None:  # and so is the result
        return regroup(tensor.movedim(1, -1), -1, outer, inner).movedim(-1, 1)
    split = tensor.unflatten(axis, (outer, inner, -1))  # type: ignore[no-untyped-call]
    regrouped: Tensor = split.transpose(axis, axis + 1).flatten(axis, axis + 2)
    return regrouped


class Conv1d(_Conv, nn.Conv1d):
    """`Conv2d` over one axis."""


class Conv2d(_Conv, nn.Conv2d):
    """A convolution whose kernel entries are algebra elements; `real` is torch.nn's to the last bit.

    Shapes: x (N, in_channels, *size) → (N, out_channels, *size'), channels blocked by component ([r…, x…, y…, z…]);
    weight (out_channels, in_channels / n / groups, *kernel), blocked by component along its first axis.
    With groups, group g joins the g-th part of the input *elements* with the g-th part of the output elements.

    Raises:
        ValueError: a number of channels is not divisible by the algebra's dimension n times the groups.
    """


class Conv3d(_Conv, nn.Conv3d):
    """`Conv2d` over three axes."""
