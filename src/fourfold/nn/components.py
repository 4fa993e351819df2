"""What layers without weights share: the whole numbers along an axis, their norms, and the algebra they print."""

import torch
from torch import Tensor, nn

from fourfold.algebra import REAL, Algebra
from fourfold.algebra.checking import widened
from fourfold.nn.base import check_divisible, fixed


class NumberLayer(nn.Module):
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


def split_components(input: Tensor, algebra: Algebra, dim: int) -> Tensor:
    """Return a view with the components and the numbers as two axes: (…, n·c, …) → (…, n, c, …), the n at `dim`.

    Raises:
        ValueError: the size along `dim` is not divisible by n.
    """
    dim %= input.dim()
    check_divisible(f"input.shape[{dim}]", input.shape[dim], algebra)
    return input.unflatten(dim, (algebra.n, -1))  # type: ignore[no-untyped-call, no-any-return]


def join_components(numbers: Tensor, dim: int) -> Tensor:
    """Return the components blocked along one axis again, which undoes `split_components` with a `dim` from the front."""
    return numbers.flatten(dim, dim + 1)


def squared_norms(numbers: Tensor, dim: int) -> Tensor:
    """Return |q|² of every number, with 1 in the place of the n components, in float32 or better.

    Summed part by part: `torch.linalg.vector_norm` over an axis of four takes 50 to 100 times as long on a CPU.
    """
    first, *others = widened(numbers).split(1, dim)  # type: ignore[no-untyped-call]
    total: Tensor = first.square()
    for part in others:
        total = torch.addcmul(total, part, part)
    return total


def norms(numbers: Tensor, dim: int, at_least: float = 0.0) -> Tensor:
    """Return |q| of every number, with 1 in the place of the n components, in float32 or better.

    What is shorter than `at_least`, or so short that its square underflows, is given that length and a gradient of zero: a
    divisor whose quotients and gradients are finite everywhere.
    """
    squares = squared_norms(numbers, dim)
    return squares.clamp_min(max(at_least**2, torch.finfo(squares.dtype).tiny)).sqrt()
