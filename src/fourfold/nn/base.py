"""What linear and convolution layers share: an algebra, sizes in real neurons, a stored weight and its real matrix."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Generator, Tensor, nn

from fourfold.algebra import REAL, Algebra, get
from fourfold.nn import init
from fourfold.nn.copying import deepcopied, is_copied_for_fusion
from fourfold.nn.tracing import WholeLayer
from fourfold.record import UserError


class AlgebraLayer(WholeLayer):
    """Mixed in before a layer of torch.nn, whose constructor then allocates the stored weight (out, in / n, *kernel)."""

    algebra: Algebra
    weight: Tensor
    bias: Any
    groups: int = 1

    def _use(self, algebra: Algebra) -> None:
        """Take an algebra after torch's constructor has run, and draw the weights for it."""
        self.algebra = algebra
        if algebra.n > 1:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias afresh: torch's default for `real`, its variance in polar form for the others."""
        if getattr(self, "algebra", REAL).n == 1:  # torch's constructor calls this before there is one
            super().reset_parameters()  # type: ignore[misc]
        else:
            self.draw()

    def draw(self, scheme: str = "torch", generator: Generator | None = None, form: str = "polar") -> None:
        """Draw weight and bias afresh, with the variance of one of `init.SCHEMES` in one of `init.FORMS`."""
        init.weight_(self.weight, self.algebra, self.groups, scheme, generator, form)
        if self.bias is not None:
            init.bias_(self.bias, fan_in(self), scheme, generator)

    def matrix(self) -> Tensor:
        """Return the real weight that torch's functional takes: (out, in / groups, *kernel)."""
        return self._matrix_of(self.weight)

    def _matrix_of(self, weight: Tensor) -> Tensor:
        """Return the real matrix of a stored weight, which need not be the layer's own."""
        n = self.algebra.n
        if n == 1:
            return weight
        out, per_group, *kernel = weight.shape
        if self.groups == 1:
            return self.algebra.matrix(weight.view(n, out // n, per_group, *kernel))
        grouped = weight.view(n, self.groups, out // n // self.groups, per_group, *kernel).unbind(1)
        return torch.cat([self.algebra.matrix(part) for part in grouped])

    def is_product(self) -> bool:
        """Whether the layer is the product w·x of a fixed algebra: a subclass may make another matrix of its weight."""
        return isinstance(self.algebra, Algebra) and type(self).matrix is AlgebraLayer.matrix

    def _kept(self, name: str, make: Callable[[], Tensor], weight: Tensor) -> Tensor:
        """Return `make()`, a function of the layer's `weight` alone: kept from call to call while the layer only evaluates.

        That is in evaluation mode, without derivatives, and with a weight that no parametrization computes.
        """
        if self.training or torch.is_grad_enabled():
            _KEPT.pop(self, None)
            return make()
        if weight is not self._parameters.get("weight") or weight.is_inference():
            return make()
        kept = _KEPT.get(self)
        if kept is None or not kept.is_of(weight):
            kept = _KEPT[self] = _Kept(weight.detach(), weight._version, float(weight.sum()))
        if name not in kept.made:
            kept.made[name] = make()
        return kept.made[name]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return a copy; to `torch.nn.utils.fuse_conv_bn_eval` and its like, of torch's real layer of the same function.

        Those scale the rows of a copied layer's `weight`, which they take for its matrix.
        """
        if self.algebra.n > 1 and is_copied_for_fusion():
            from fourfold.nn.convert import to_real  # which is made of layers such as this one

            return to_real(self)
        return deepcopied(self, memo)

    def extra_repr(self) -> str:
        """Return what torch prints between the brackets, and the algebra."""
        text = super().extra_repr()
        return text if self.algebra.n == 1 else f"{text}, algebra={self.algebra.name!r}"


@dataclass(frozen=True)
class _Kept:
    """What was made from a weight, and how to see that the weight is still the same."""

    weight: Tensor
    """Shares the weight's memory and so keeps its address from being given to another."""
    version: int
    total: float
    """Tells changes that torch does not count: those through `weight.data`."""
    made: dict[str, Tensor] = field(default_factory=dict)

    def is_of(self, weight: Tensor) -> bool:
        known = self.weight
        return (
            weight.data_ptr() == known.data_ptr()
            and weight._version == self.version
            and weight.dtype == known.dtype
            and weight.shape == known.shape
            and weight.stride() == known.stride()
            and float(weight.sum()) == self.total
        )


_KEPT: WeakKeyDictionary[nn.Module, _Kept] = WeakKeyDictionary()
"""Beside the layers, not in them, so that copies, pickles and state dicts have none of it."""


def fan_in(layer: nn.Module) -> int:
    """Return the real inputs of each real output of a linear or convolution layer."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    n = layer.algebra.n if isinstance(layer, AlgebraLayer) else 1
    return math.prod(weight.shape[1:]) * n


def fixed(algebra: str | Algebra) -> Algebra:
    """Return a fixed algebra by its name, or as it is.

    Raises:
        ValueError: an unknown name, or a learned algebra.
    """
    found = get(algebra)
    if not isinstance(found, Algebra):
        raise UserError(f"`algebra` (={type(found).__name__}) must be fixed here; linear layers and convolutions learn theirs")
    return found


def check_divisible(argument: str, value: int, algebra: Algebra, groups: int = 1) -> None:
    """Raise unless a size in real neurons makes whole numbers of the algebra in every group."""
    unit = algebra.n * groups
    if value % unit:
        of = f"{unit} ({groups} groups of {algebra.n})" if groups > 1 else f"{algebra.n}"
        raise UserError(f"`{argument}` (={value}) must be divisible by {of} for algebra {algebra.name!r}")
