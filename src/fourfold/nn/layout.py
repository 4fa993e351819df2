"""How a stored weight holds the numbers of its algebra: which axis is the output, which entries are one number."""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from fourfold.nn.base import AlgebraLayer
from fourfold.nn.blocks import BlockedLayer


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a stored weight holds its numbers; the default is that of a real linear layer or convolution."""

    n: int = 1
    """Components of a number."""
    blocks: int = 1
    """Blocks of rows, each blocked by component in itself: gates of a recurrent layer, heads of an attention."""
    groups: int = 1
    """Groups of a transposed convolution."""
    transposed: bool = False
    """Whether inputs come before outputs, as in transposed convolutions: (in, out / n / groups, *kernel)."""

    def numbers(self, values: Tensor) -> Tensor:
        """Return the values by number: the weight's shape → (n, outputs, inputs, positions), whatever the layout.

        Outputs and inputs are elements of the algebra, positions those of a kernel. Grouped layers have the inputs of a group.
        """
        rows, inputs = values.shape[0], values.shape[1] if values.dim() > 1 else 1
        positions = math.prod(values.shape[2:])
        if self.transposed:
            parts = values.reshape(self.n, self.groups, rows // self.n // self.groups, inputs, positions)
            return parts.transpose(2, 3).flatten(1, 2)
        parts = values.reshape(self.blocks, self.n, rows // self.n // self.blocks, inputs, positions)
        return parts.transpose(0, 1).flatten(1, 2)

    def stored(self, numbers: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the values in the shape of the stored weight, which undoes `numbers`."""
        n, outputs, inputs, positions = numbers.shape
        if self.transposed:
            parts = numbers.reshape(n, self.groups, outputs // self.groups, inputs, positions).transpose(2, 3)
        else:
            parts = numbers.reshape(n, self.blocks, outputs // self.blocks, inputs, positions).transpose(0, 1)
        return parts.reshape(shape)

    def kernel_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a stored weight as a convolution has it: (out, in / n, *kernel)."""
        if not self.transposed:
            return shape
        return shape[1] * self.groups * self.n, shape[0] // self.groups // self.n, *shape[2:]


def layout_of(layer: nn.Module, name: str) -> Layout:
    """Return how a layer stores one of its weights, by the weight's local name."""
    if isinstance(layer, BlockedLayer):
        n = layer.algebra.n
        return Layout(n=n, blocks=layer._blocks(name)[0] if n > 1 else 1)
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase | nn.MultiheadAttention):
        return Layout()
    n = layer.algebra.n if isinstance(layer, AlgebraLayer) and name == "weight" else 1
    if isinstance(layer, _ConvTransposeNd):
        return Layout(n=n, groups=layer.groups, transposed=True)
    return Layout(n=n)
