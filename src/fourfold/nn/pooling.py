"""Max pooling of elements by their norm, and average pooling, which is torch's in every algebra.

An average is linear with a real factor, so it acts on every component alone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
)
from torch.nn import functional as F

from fourfold.algebra import Algebra
from fourfold.nn.base import fixed
from fourfold.nn.components import NumberLayer, channels_last, norms, split_components
from fourfold.record import UserError

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]


class _PoolByNorm(NumberLayer):
    """What all max poolings share; `MaxPool2d` describes them."""

    return_indices: bool
    _rank: int

    def _largest(self, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Pool the norms (N, c, *size): the largest of every window, and its flat position in the map."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the number of largest norm of every window, and its position if `return_indices`."""
        if self.algebra.n == 1:
            return super().forward(input)  # type: ignore[no-any-return]
        if input.dim() not in (self._rank + 1, self._rank + 2):
            ranks = f"{self._rank + 1} or {self._rank + 2}"
            raise UserError(f"`input` must have {ranks} axes for {type(self).__name__}, and has shape {tuple(input.shape)}")
        dim = input.dim() - self._rank - 1
        numbers = split_components(input, self.algebra, dim)
        with torch.no_grad():
            lengths = norms(numbers, dim).squeeze(dim)
            # torch's pooling takes one volume whose channels lie last for a batch of images, and refuses it.
            _, indices = self._largest(lengths if dim else lengths.contiguous())
        size, channels = indices.shape[dim + 1 :], input.shape[: dim + 1]
        if dim == 1 and channels_last(input) is not None:  # a position has its channels side by side, and keeps them so
            flat = numbers.movedim((1, 2), (-2, -1)).flatten(1, -3)
            everywhere = indices.movedim(1, -1).flatten(1, -2).unsqueeze(2).expand(-1, -1, self.algebra.n, -1)
            elements = flat.gather(1, everywhere)
            output, places = (flat_map.reshape(len(input), *size, -1).movedim(-1, 1) for flat_map in (elements, everywhere))
        else:
            everywhere = indices.flatten(dim + 1).unsqueeze(dim).expand(*numbers.shape[: dim + 2], -1)
            elements = numbers.flatten(dim + 2).gather(-1, everywhere)
            output, places = (flat_map.reshape(*channels, *size) for flat_map in (elements, everywhere))
        return (output, places) if self.return_indices else output


class _MaxPool(_PoolByNorm):
    kernel_size: Any
    stride: Any
    padding: Any
    dilation: Any
    ceil_mode: bool

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, return_indices, ceil_mode)
        self.algebra = fixed(algebra)

    def _largest(self, lengths: Tensor) -> tuple[Tensor, Tensor]:
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[self._rank - 1]
        window = (self.kernel_size, self.stride, self.padding, self.dilation)
        pooled: tuple[Tensor, Tensor] = pool(lengths, *window, ceil_mode=self.ceil_mode, return_indices=True)
        return pooled


class MaxPool1d(_MaxPool, nn.MaxPool1d):
    """`MaxPool2d` over (N, channels, L) or (channels, L)."""

    _rank = 1


class MaxPool2d(_MaxPool, nn.MaxPool2d):
    """Max pooling of elements: of every window, the element of the largest norm |q|.

    Shapes: x (N, channels, H, W) or (channels, H, W) → the same with the pooled size, channels blocked by component
    ([r…, x…, y…, z…]). Of equal norms the first is taken; the gradient goes to the taken number alone.
    `return_indices` gives positions that `torch.nn.MaxUnpool2d` understands, the same for the n components of an element.
    `real` is torch.nn's, which compares the values and not their magnitudes. For pooling of every component alone
    (split), use torch's own.

    Raises:
        ValueError: `x` has another rank, or its channels are not divisible by the algebra's dimension.
    """

    _rank = 2


class MaxPool3d(_MaxPool, nn.MaxPool3d):
    """`MaxPool2d` over (N, channels, D, H, W) or (channels, D, H, W)."""

    _rank = 3


class _AdaptiveMaxPool(_PoolByNorm):
    output_size: Any

    def __init__(self, output_size: Any, return_indices: bool = False, *, algebra: str | Algebra = "real") -> None:
        super().__init__(output_size, return_indices)
        self.algebra = fixed(algebra)

    def _largest(self, lengths: Tensor) -> tuple[Tensor, Tensor]:
        pool = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[self._rank - 1]
        pooled: tuple[Tensor, Tensor] = pool(lengths, self.output_size, return_indices=True)
        return pooled


class AdaptiveMaxPool1d(_AdaptiveMaxPool, nn.AdaptiveMaxPool1d):
    """`MaxPool1d` to a given size."""

    _rank = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool, nn.AdaptiveMaxPool2d):
    """`MaxPool2d` to a given size."""

    _rank = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool, nn.AdaptiveMaxPool3d):
    """`MaxPool3d` to a given size."""

    _rank = 3
