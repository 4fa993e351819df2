"""What linear and convolution layers share: an algebra, sizes in real neurons, a stored weight and its real matrix."""

import math
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from fourfold.algebra import REAL, Algebra, LearnedAlgebra, get
from fourfold.algebra.learned import learned_matrix
from fourfold.nn import init
from fourfold.nn.caching import cached
from fourfold.nn.copying import deepcopied, is_copied_for_fusion
from fourfold.nn.expansion import can_expand, expand, plan_of_groups
from fourfold.nn.tracing import WholeLayer
from fourfold.record import UserError


def own_algebra(module: nn.Module) -> Algebra | LearnedAlgebra:
    """Return the algebra that a module computes in; `REAL` for torch's own, and where `algebra` is something of the user's."""
    own = getattr(module, "algebra", REAL)
    return own if isinstance(own, Algebra | LearnedAlgebra) else REAL


class AlgebraLayer(WholeLayer):
    """Mixed in before a layer of torch.nn, whose constructor then allocates the stored weight (out, in / n, *kernel)."""

    algebra: Algebra
    weight: Tensor
    bias: Any
    groups: int = 1
    _multiplies = True
    """Whether the real matrix is that of multiplication by the stored weight."""

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
        return self._matrix_of(*self._matrix_sources())

    def _matrix_sources(self) -> tuple[Tensor, ...]:
        """Return the tensors that make the real matrix."""
        algebra: object = self.algebra
        return (self.weight, algebra.constants) if type(algebra) is LearnedAlgebra else (self.weight,)

    def _matrix_of(self, weight: Tensor, constants: Tensor | None = None) -> Tensor:
        """Return the real matrix of a stored weight, which need not be the layer's own, and of the constants if learned."""
        n = self.algebra.n
        if n == 1:
            return weight
        out, per_group, *kernel = weight.shape
        if type(self.algebra) is Algebra and can_expand(weight):
            plan = plan_of_groups(self.algebra, self.groups, out // n // self.groups, weight.dtype)
            return expand(weight, plan, (out, per_group * n, *kernel))
        expanded = self.algebra.matrix if constants is None else partial(learned_matrix, constants)
        if self.groups == 1:
            return expanded(weight.view(n, out // n, per_group, *kernel))
        grouped = weight.view(n, self.groups, out // n // self.groups, per_group, *kernel).unbind(1)
        return torch.cat([expanded(part) for part in grouped])

    def _matrix_settings(self) -> tuple[Any, ...]:
        """Return what else the real matrix depends on."""
        return self.algebra, self.groups

    def expanded(self) -> Tensor:
        """Return `matrix()`, cached while the layer only evaluates: see `fourfold.nn.caching`."""
        if self.algebra is REAL:
            return self.weight
        if type(self).matrix is not AlgebraLayer.matrix or type(self.algebra) not in (Algebra, LearnedAlgebra):
            return self.matrix()  # a subclass makes another one, of who knows what
        return cached(self, "matrix", self._matrix_of, self._matrix_sources(), self._matrix_settings())

    def is_product(self) -> bool:
        """Whether the layer is the product w·x of a fixed algebra: a subclass may make another matrix of its weight."""
        return type(self.algebra) is Algebra and self._multiplies and type(self).matrix is AlgebraLayer.matrix

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return a copy; to `torch.nn.utils.fuse_conv_bn_eval` and its like, of torch's real layer of the same function.

        Those scale the rows of a copied layer's `weight`, which they take for its matrix.
        """
        if self.algebra.n > 1 and is_copied_for_fusion():
            from fourfold.nn._convert import to_real  # which is made of layers such as this one

            return to_real(self)
        return deepcopied(self, memo)

    def extra_repr(self) -> str:
        """Return what torch prints between the brackets, and the algebra."""
        text = super().extra_repr()
        return text if self.algebra.n == 1 else f"{text}, algebra={self.algebra.name!r}"


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
    resolved = get(algebra)
    if not isinstance(resolved, Algebra):
        raise UserError(
            f"`algebra` (={type(resolved).__name__}) must be fixed here; linear layers and convolutions learn theirs"
        )
    return resolved


def check_divisible(argument: str, value: int, algebra: Algebra, groups: int = 1) -> None:
    """Raise unless a size in real neurons makes elements of the algebra in every group."""
    unit = algebra.n * groups
    if value % unit:
        of = f"{unit} ({groups} groups of {algebra.n})" if groups > 1 else f"{algebra.n}"
        raise UserError(f"`{argument}` (={value}) must be divisible by {of} for algebra {algebra.name!r}")
