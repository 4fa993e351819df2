"""Dropout of elements: the n components of an element are dropped together."""

from torch import Tensor, nn
from torch.nn import functional as F

from fourfold.algebra import Algebra
from fourfold.nn.base import fixed
from fourfold.nn.components import NumberLayer, axis_of, join_components, split_components
from fourfold.record import UserError


class Dropout(NumberLayer, nn.Dropout):
    """Dropout (Srivastava et al. 2014) of elements; `real` is torch.nn's to the last bit.

    Shapes: x of any shape → the same. The numbers lie along `dim`, blocked by component ([r…, x…, y…, z…]): 1 for
    (N, features) and (N, channels, *size), −1 for sequences (N, L, features).

    Raises:
        ValueError: `p` is no probability, or the size of `x` along `dim` is not divisible by the algebra's dimension.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, dim: int = 1, algebra: str | Algebra = "real") -> None:
        super().__init__(p, inplace)
        self.algebra = fixed(algebra)
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Return x with each element zero with probability p, and multiplied by 1 / (1 − p) otherwise."""
        if self.algebra.n == 1:
            return super().forward(input)
        dim = axis_of(input, self.dim)
        shape = list(split_components(input, self.algebra, dim).shape)
        shape[dim] = 1
        return _drop(self, input, dim, shape)


class _SpatialDropout(NumberLayer):
    """What the spatial dropouts share; `Dropout2d` describes them."""

    p: float
    inplace: bool
    _ranks: tuple[int, ...]

    def __init__(self, p: float = 0.5, inplace: bool = False, *, algebra: str | Algebra = "real") -> None:
        super().__init__(p, inplace)
        self.algebra = fixed(algebra)

    def forward(self, input: Tensor) -> Tensor:
        """Return x with each element's whole map zero with probability p, and multiplied by 1 / (1 − p) otherwise."""
        if self.algebra.n == 1:
            return super().forward(input)  # type: ignore[no-any-return]
        if input.dim() not in self._ranks:
            ranks = " or ".join(str(rank) for rank in self._ranks)
            raise UserError(f"`input` must have {ranks} axes for {type(self).__name__}, and has shape {tuple(input.shape)}")
        dim = 1 if input.dim() == self._ranks[-1] else 0
        numbers = split_components(input, self.algebra, dim).shape[dim + 1]
        return _drop(self, input, dim, [*input.shape[:dim], 1, numbers, *[1] * (input.dim() - dim - 1)])


class Dropout1d(_SpatialDropout, nn.Dropout1d):
    """`Dropout2d` over (N, channels, L) or (channels, L)."""

    _ranks = (2, 3)


class Dropout2d(_SpatialDropout, nn.Dropout2d):
    """Dropout of whole feature maps (Tompson et al. 2015), the n maps of an element together; `real` is torch.nn's.

    Shapes: x (N, channels, H, W) → the same, channels blocked by component ([r…, x…, y…, z…]). Without a batch axis
    torch takes three axes for (N, channels, L), so only `real` does.

    Raises:
        ValueError: `p` is no probability, `x` has another rank, or its channels are not divisible by the algebra's dimension.
    """

    _ranks = (4,)


class Dropout3d(_SpatialDropout, nn.Dropout3d):
    """`Dropout2d` over (N, channels, D, H, W) or (channels, D, H, W)."""

    _ranks = (4, 5)


def _drop(layer: Dropout | _SpatialDropout, input: Tensor, dim: int, shape: list[int]) -> Tensor:
    """Multiply the numbers along `dim` by factors of a shape that leaves out what is dropped together."""
    if not layer.training or layer.p == 0:
        return input
    factors = F.dropout(input.new_ones(shape), layer.p)
    numbers = split_components(input, layer.algebra, dim)
    if layer.inplace:
        numbers.mul_(factors)
        return input
    return join_components(numbers * factors, dim)
