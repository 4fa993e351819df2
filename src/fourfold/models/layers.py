"""What networks are built from: the layers of one algebra, with one kind of batch norm, as wide as asked."""

from dataclasses import dataclass

from torch import nn

from fourfold import nn as fnn
from fourfold.algebra import QUATERNION, Algebra, get
from fourfold.record import UserError
from fourfold.record.errors import unknown

PHM = "phm"
"""The algebra of four components that every layer learns for itself, from a random start (Zhang et al. 2021)."""

NORMS: dict[str, type[fnn.BatchNorm2d] | type[fnn.WhiteningBatchNorm2d]] = {
    "component": fnn.BatchNorm2d,
    "whitening": fnn.WhiteningBatchNorm2d,
}
"""Batch norms by the names that specs have for them."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Makes the layers of a network.

    Raises:
        ValueError: `width` is not above 0, or, of the layers, sizes that the algebra does not divide.
    """

    algebra: str | Algebra
    """Of all layers but the output layer: an algebra, its name, or `PHM`."""
    head: str = "real"
    """The output layer: `real` (paper 1), or `algebra` for one in the algebra (paper 2)."""
    norm: str = "component"
    """One of `NORMS`."""
    width: float = 1.0
    """Factor of the sizes of all hidden layers, each rounded to elements of the algebra."""

    def __post_init__(self) -> None:
        numbers(self.algebra)
        if self.head not in ("real", "algebra"):
            raise unknown("head", self.head, ("real", "algebra"))
        if self.norm not in NORMS:
            raise unknown("norm", self.norm, NORMS)
        if not self.width > 0:
            raise UserError(f"`width` (={self.width}) must be above 0")

    def scaled(self, size: int) -> int:
        """Return a size in real neurons times the width, rounded to elements of the algebra, at least one."""
        n = dimension(self.algebra)
        return size if self.width == 1 else max(1, round(size * self.width / n)) * n

    def linear(self, in_features: int, out_features: int) -> nn.Linear:
        """Return a hidden linear layer."""
        if self.algebra == PHM:
            return fnn.PHMLinear(in_features, out_features, n=QUATERNION.n)
        return fnn.Linear(in_features, out_features, algebra=self.algebra)

    def output(self, in_features: int, num_classes: int) -> nn.Linear:
        """Return the output layer."""
        return self.linear(in_features, num_classes) if self.head == "algebra" else fnn.Linear(in_features, num_classes)

    def output_convolution(self, in_channels: int, num_classes: int) -> nn.Conv2d:
        """Return the output layer of a network that gives a class to every pixel: a 1×1 convolution."""
        return (
            self.convolution(in_channels, num_classes, 1) if self.head == "algebra" else fnn.Conv2d(in_channels, num_classes, 1)
        )

    def convolution(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, *, bias: bool = True
    ) -> nn.Conv2d:
        """Return a convolution that keeps the map's size up to the stride."""
        if self.algebra == PHM:
            return fnn.PHMConv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=bias, n=QUATERNION.n)
        return fnn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=bias, algebra=self.algebra)

    def transposed_convolution(self, in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
        """Return a 2×2 transposed convolution of stride 2, which doubles the map, without a bias.

        Raises:
            UserError: the algebra is a learned one.
        """
        if self.algebra == PHM:
            raise UserError(f"`algebra` (={PHM!r}) cannot be combined with transposed convolutions, which need a fixed algebra")
        return fnn.ConvTranspose2d(in_channels, out_channels, 2, 2, bias=False, algebra=self.algebra)

    def batch_norm(self, num_features: int) -> nn.BatchNorm2d:
        """Return the batch norm behind a convolution; a learned algebra's has the components of a quaternion."""
        return NORMS[self.norm](num_features, algebra=numbers(self.algebra))


def dimension(algebra: str | Algebra) -> int:
    """Return the real numbers in a number of an algebra, given as in `Layers`."""
    return numbers(algebra).n


def numbers(algebra: str | Algebra) -> Algebra:
    """Return the fixed algebra that has the numbers of one given as in `Layers`: the algebra itself, or quaternions for `PHM`.

    Raises:
        ValueError: an unknown name.
    """
    return QUATERNION if algebra == PHM else get(algebra)
