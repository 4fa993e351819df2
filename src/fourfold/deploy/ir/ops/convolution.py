"""Two-dimensional convolution."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.operation import Shape, Values, check_positive, map_of, named
from fourfold.deploy.ir.ops._windows import window_places
from fourfold.deploy.ir.product import ProductOperation, checked_outputs, real_matrix, with_bias

MOST_UNROLLED = 2**25
"""Numbers of a convolution's windows that are unrolled at once: 256 MiB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution(ProductOperation):
    """Cross-correlation with zeros around the map; groups above 1 only with n = 1."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Top, bottom, left, right."""
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    relu: bool = False

    kind: ClassVar[str] = "convolution"

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return outputs and the kernel's places along each side."""
        channels, height, width = map_of(self, inputs[0])
        outputs = checked_outputs(self, 5, channels, self.groups)
        kernel = self.product.weight.shape[3:]
        check_positive(self, stride=self.stride, padding=self.padding, dilation=self.dilation, kernel=kernel)
        top, bottom, left, right = self.padding
        padded = height + top + bottom, width + left + right
        check("value", channels * math.prod(padded), f"{named(self)} with its padding")
        sizes = zip(padded, kernel, self.stride, self.dilation, strict=True)
        return outputs, *(window_places(size, k, stride, 0, dilation, False) for size, k, stride, dilation in sizes)

    def work(self, output: Shape, *inputs: Shape) -> int:
        """Return the multiply-adds of all weights at all places."""
        return math.prod(output[1:]) * self.product.n * self.product.weight.size

    def compute(self, *inputs: Values) -> Values:
        """Return the sums of each place, with the bias."""
        (x,) = inputs
        top, bottom, left, right = self.padding
        (row_step, column_step), (row_gap, column_gap) = self.stride, self.dilation
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        weight = real_matrix(self.product).astype(np.float64)
        outputs, channels, height, width = weight.shape
        spans = row_gap * (height - 1) + 1, column_gap * (width - 1) + 1
        windows = sliding_window_view(padded, spans, axis=(2, 3))[:, :, ::row_step, ::column_step, ::row_gap, ::column_gap]
        images, _, rows, columns = windows.shape[:4]
        groups = self.groups
        by_group = weight.reshape(groups, outputs // groups, -1)
        if windows.size <= MOST_UNROLLED:
            unrolled = windows.transpose(0, 1, 4, 5, 2, 3).reshape(images, groups, channels * height * width, rows * columns)
            y = by_group @ unrolled
        else:  # a place of the kernel after the other
            y = np.zeros((images, groups, outputs // groups, rows * columns))
            by_place = by_group.reshape(groups, outputs // groups, channels, height, width)
            for row, column in np.ndindex(height, width):
                patches = windows[..., row, column].reshape(images, groups, channels, rows * columns)
                y += by_place[..., row, column] @ patches
        return with_bias(y.reshape(images, outputs, rows, columns), self.product)
