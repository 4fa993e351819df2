"""Windows of a pooling: how many there are, what they reach into, and what they see."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.operation import Operation, Shape, Values, check_positive, map_of, named
from fourfold.record.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Operation):
    """What poolings have in common: windows of one size at equal distances."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    """Rows above and below, columns left and right."""
    if TYPE_CHECKING:  # declared by each class, last: artifacts write fields in order
        ceil: bool = False

    @property
    def gaps(self) -> tuple[int, int]:
        """From one place of a window to the next: the dilation, where there is one."""
        return (1, 1)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return channels and the windows along each side."""
        (shape,) = inputs
        channels, *sizes = map_of(self, shape)
        kernel, stride, padding, dilation = self.kernel, self.stride, self.padding, self.gaps
        check_positive(self, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        # Else a window could lie in the padding alone, of whose largest or mean torch makes what is not a number.
        if any(2 * side > k for side, k in zip(padding, kernel, strict=True)):
            raise UserError(f"{named(self)} has `padding` (={padding}), which must be at most half of the kernel {kernel}")
        if any(side and gap > size for side, gap, size in zip(padding, dilation, sizes, strict=True)):
            raise UserError(
                f"{named(self)} has `dilation` (={dilation}), which must be at most the map's size where it is padded"
            )
        (above, below), (left, right) = window_margins(self, shape)
        reached = channels * (above + sizes[0] + below) * (left + sizes[1] + right)
        check("value", reached, f"{named(self)} with its padding")
        axes = zip(sizes, kernel, stride, padding, dilation, strict=True)
        return channels, *(window_places(*axis, self.ceil) for axis in axes)

    def work(self, output: Shape, *inputs: Shape) -> int:
        """Return the numbers that all windows see."""
        return math.prod(output) * math.prod(self.kernel)


def window_places(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """Return how many windows of a pooling fit along an axis, as torch counts them."""
    spare = size + 2 * padding - dilation * (kernel - 1) - 1
    places = (-(-spare // stride) if ceil else spare // stride) + 1
    # A last window that would begin beyond the map is left out.
    return places - 1 if ceil and (places - 1) * stride >= size + padding else places


def window_margins(operation: Pool, shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the rows above and below a map, and the columns left and right of it, that its windows reach into.

    Below and on the right they can be fewer than the padding, or more, where a last window of `ceil` ends beyond it.
    """
    margins = []
    for axis in zip(shape[1:], operation.kernel, operation.stride, operation.padding, operation.gaps, strict=True):
        size, kernel, stride, padding, gap = axis
        places = window_places(*axis, operation.ceil)
        end = (places - 1) * stride + gap * (kernel - 1) + 1 - padding
        margins.append((padding, max(end - size, 0)))
    return margins[0], margins[1]


def windows(operation: Pool, x: Values, outside: float) -> Values:
    """Return all windows of a pooling, (N, C, rows, columns, height, width), with a value for what lies outside the map."""
    row_gap, column_gap = operation.gaps
    row_step, column_step = operation.stride
    height, width = operation.kernel
    padded = np.pad(x, ((0, 0), (0, 0), *window_margins(operation, x.shape[1:])), constant_values=outside)
    spans = row_gap * (height - 1) + 1, column_gap * (width - 1) + 1
    views: Values = sliding_window_view(padded, spans, axis=(2, 3))
    return views[:, :, ::row_step, ::column_step, ::row_gap, ::column_gap]
