"""What linear and convolution layers share: an algebra, sizes in real neurons, a stored weight and its real matrix."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.algebra import REAL, Algebra
from fourfold.nn import init
from fourfold.record import UserError


class AlgebraLayer(nn.Module):
    """Mixed in before a layer of torch.nn, whose constructor then allocates the stored weight (out, in / n, *kernel)."""

    algebra: Algebra = REAL
    weight: Tensor
    bias: Any
    groups: int = 1

    def _use(self, algebra: Algebra) -> None:
        """Take an algebra after torch's constructor has run, and draw the weights for it."""
        if algebra is not REAL:
            self.algebra = algebra
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias afresh: torch's default for `real`, its variance in polar form for the others."""
        if self.algebra is REAL:
            super().reset_parameters()  # type: ignore[misc]
            return
        init.weight_(self.weight, self.algebra, self.groups)
        if self.bias is not None:
            init.bias_(self.bias, fan_in(self))

    def matrix(self) -> Tensor:
        """Return the real weight that torch's functional takes: (out, in / groups, *kernel)."""
        n = self.algebra.n
        if n == 1:
            return self.weight
        out, per_group, *kernel = self.weight.shape
        if self.groups == 1:
            return self.algebra.matrix(self.weight.view(n, out // n, per_group, *kernel))
        grouped = self.weight.view(n, self.groups, out // n // self.groups, per_group, *kernel).unbind(1)
        return torch.cat([self.algebra.matrix(part) for part in grouped])

    def extra_repr(self) -> str:
        """Return what torch prints between the brackets, and the algebra."""
        text = super().extra_repr()
        return text if self.algebra is REAL else f"{text}, algebra={self.algebra.name!r}"


def fan_in(layer: nn.Module) -> int:
    """Return the real inputs of each real output of a linear or convolution layer."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    n = layer.algebra.n if isinstance(layer, AlgebraLayer) else 1
    return math.prod(weight.shape[1:]) * n


def check_divisible(argument: str, value: int, algebra: Algebra, groups: int = 1) -> None:
    """Raise unless a size in real neurons makes whole numbers of the algebra in every group."""
    unit = algebra.n * groups
    if value % unit:
        of = f"{unit} ({groups} groups of {algebra.n})" if groups > 1 else f"{algebra.n}"
        raise UserError(f"`{argument}` (={value}) must be divisible by {of} for algebra {algebra.name!r}")
