"""What layers without weights share: the whole numbers along an axis, their norms, and the algebra they print."""

import torch
from torch import Tensor

from fourfold.algebra import REAL, Algebra
from fourfold.algebra.checking import widened
from fourfold.algebra.elements import norm_of_parts
from fourfold.nn.base import check_divisible, fixed
from fourfold.nn.tracing import WholeLayer
from fourfold.record import UserError


class NumberLayer(WholeLayer):
    """Mixed in before a layer of torch.nn, or `nn.Module` itself, that treats the n components of a number together."""

    algebra: Algebra = REAL
    dim: int = 1
    """The axis along which the numbers lie, blocked by component."""

    def extra_repr(self) -> str:
        """Return what torch prints between the brackets, the axis if it is not 1, and the algebra."""
        text = super().extra_repr()
        if self.algebra.n == 1:
            return text
        return ", ".join([*filter(None, [text]), *[f"dim={self.dim}"] * (self.dim != 1), f"algebra={self.algebra.name!r}"])


class NumberFunction(NumberLayer):
    """A function of every number along `dim`, without weights: the constructor of such layers."""

    def __init__(self, *, dim: int = 1, algebra: str | Algebra = "real") -> None:
        super().__init__()
        self.algebra = fixed(algebra)
        self.dim = dim


def axis_of(input: Tensor, dim: int) -> int:
    """Return the axis from the front that `dim` means.

    Raises:
        ValueError: the input has no such axis.
    """
    rank = input.dim()
    if not -rank <= dim < rank:
        raise UserError(f"`dim` (={dim}) must be an axis of `input`, whose shape is {tuple(input.shape)}")
    return dim % rank


def split_components(input: Tensor, algebra: Algebra, dim: int) -> Tensor:
    """Return a view with the components and the numbers as two axes: (…, n·c, …) → (…, n, c, …), the n at `dim`.

    Raises:
        ValueError: the input has no such axis, or its size is not divisible by n.
    """
    dim = axis_of(input, dim)
    check_divisible(f"input.shape[{dim}]", input.shape[dim], algebra)
    return input.unflatten(dim, (algebra.n, -1))  # type: ignore[no-untyped-call, no-any-return]


def join_components(numbers: Tensor, dim: int) -> Tensor:
    """Return the components blocked along one axis again, which undoes `split_components` with a `dim` from the front."""
    return numbers.flatten(dim, dim + 1)


def norms(numbers: Tensor, dim: int) -> Tensor:
    """Return |q| of every number, with 1 in the place of the n components, in float32 or better.

    Its gradient at zero is zero; see `algebra.elements.norm_of_parts`.
    """
    return norm_of_parts(widened(numbers).split(1, dim))  # type: ignore[no-untyped-call]


def divisors(numbers: Tensor, dim: int, at_least: float = 0.0) -> Tensor:
    """Return |q| of every number as `norms` does, but what is shorter than `at_least`, or zero, has that length.

    So all quotients and gradients are finite. The gradient of such a divisor is zero.
    """
    lengths = norms(numbers, dim)
    return lengths.clamp_min(max(at_least, torch.finfo(lengths.dtype).tiny))


def laid_out_like(y: Tensor, x: Tensor) -> Tensor:
    """Return y in the memory format of x."""
    for dimensions, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if x.dim() == dimensions and not x.is_contiguous() and x.is_contiguous(memory_format=layout):
            return y.contiguous(memory_format=layout)
    return y
