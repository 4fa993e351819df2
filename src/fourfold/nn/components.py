"""What layers without weights share: the elements along an axis, their norms, and the algebra they print."""

from typing import Any

import torch
from torch import Tensor

from fourfold.algebra import REAL, Algebra
from fourfold.algebra.checking import widened
from fourfold.algebra.elements import norm_of_parts
from fourfold.nn.base import check_divisible, fixed
from fourfold.nn.eager import is_plain_eager
from fourfold.nn.tracing import WholeLayer
from fourfold.record import UserError


class NumberLayer(WholeLayer):
    """Mixed in before a layer of torch.nn, or `nn.Module` itself, that treats the n components of an element together."""

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
    """A function of every element along `dim`, without weights: the constructor of such layers."""

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
    if not isinstance(dim, int) or isinstance(dim, bool):
        raise UserError(f"`dim` (={dim!r}) must be an integer")
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
    """Return |q| of every element, with 1 in the place of the n components, in float32 or better.

    Its gradient at zero is zero; see `algebra.elements.norm_of_parts`.
    """
    wide = widened(numbers)
    if is_plain_eager(wide) and wide.shape[dim] > 1 and wide.numel() > 0:
        squares = _squares(wide.detach(), dim)
        smallest, largest = (float(bound) for bound in squares.aminmax())
        limits = torch.finfo(squares.dtype)
        if limits.tiny / limits.eps <= smallest and largest <= limits.max:
            lengths: Tensor = _Lengths.apply(wide, squares, dim)  # type: ignore[no-untyped-call]
            return lengths
    return norm_of_parts(wide.split(1, dim))  # type: ignore[no-untyped-call]


def _squares(numbers: Tensor, dim: int) -> Tensor:
    first, *others = numbers.split(1, dim)  # type: ignore[no-untyped-call]
    total: Tensor = first.square()
    for part in others:
        total.addcmul_(part, part)
    return total


class _Lengths(torch.autograd.Function):
    """Norms from squares that neither over- nor underflow, with their gradient in one pass."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, squares: Tensor, dim: int) -> Tensor:
        lengths = squares.sqrt()
        ctx.save_for_backward(numbers, lengths)
        ctx.dim = dim
        return lengths

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        numbers, lengths = ctx.saved_tensors
        if torch.is_grad_enabled():
            lengths = norm_of_parts(numbers.split(1, ctx.dim))  # which can be derived again
        return numbers * (gradient / lengths), None, None


def divisors(numbers: Tensor, dim: int, at_least: float = 0.0) -> Tensor:
    """Return |q| of every element as `norms` does, but what is shorter than `at_least`, or zero, has that length.

    So all quotients and gradients are finite. The gradient of such a divisor is zero.
    """
    lengths = norms(numbers, dim)
    return lengths.clamp_min(max(at_least, torch.finfo(lengths.dtype).tiny))


def laid_out_like(y: Tensor, x: Tensor) -> Tensor:
    """Return y in the memory format of x."""
    layout = channels_last(x)
    return y if layout is None else y.contiguous(memory_format=layout)


def channels_last(x: Tensor) -> torch.memory_format | None:
    """Return the format in which the channels of x lie last in memory, or None."""
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    transformed = not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()
    if layout is None or transformed or x.is_contiguous() or not x.is_contiguous(memory_format=layout):
        return None  # `torch.vmap` does not answer that of a tensor
    return layout
