"""Max pooling of numbers of an algebra by their norm."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import LARGEST_SUM, Sums
from fourfold.deploy.ir.operation import Shape, Values, check_positive, named
from fourfold.deploy.ir.ops._windows import Pool, windows
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

LARGEST_LEVEL = 255


@dataclass(frozen=True, kw_only=True, eq=False)
class NormPool(Pool):
    """The number of the largest norm in each window, as `fourfold.nn.MaxPool2d`; of equal norms the first."""

    dilation: tuple[int, int] = (1, 1)
    n: int
    """Components of a number; channels are blocked by component."""
    ceil: bool = False

    kind: ClassVar[str] = "norm_pool"
    keeps_scale: ClassVar[bool] = True

    @property
    def gaps(self) -> tuple[int, int]:
        """From one place of a window to the next."""
        return self.dilation

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return channels and the windows along each side."""
        shape = super().output_shape(*inputs)
        check_positive(self, n=(self.n,))
        if shape[0] % self.n:
            raise UserError(f"{named(self)} has `n` (={self.n}), which must divide {shape[0]} channels")
        return shape

    def compute(self, *inputs: Values) -> Values:
        """Return the number of the largest norm of each window."""
        return self._longest(inputs[0], inputs[0])  # type: ignore[no-any-return]

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless sums of squares fit into 32 bits."""
        if self.n * LARGEST_LEVEL**2 > LARGEST_SUM:
            raise UserError(f"{named(self)} has numbers of {self.n} components, whose squares do not fit into int8's 32 bits")

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the levels of the number of the largest norm of each window."""
        return self._longest(inputs[0], inputs[0] - quantized.levels[self.inputs[0]].zero)

    def _longest(self, x: Any, values: Any) -> Any:
        """Return (N, channels, rows, columns) of `x`, from the places where the norm of `values` is largest."""
        images, channels = x.shape[:2]
        numbers = values.reshape(images, self.n, channels // self.n, *x.shape[2:])
        norms = windows(self, (numbers * numbers).sum(axis=1), -1)
        places = norms.reshape(*norms.shape[:4], -1).argmax(axis=-1)
        components = windows(self, x, 0).reshape(images, self.n, channels // self.n, *norms.shape[2:4], -1)
        largest = np.take_along_axis(components, places[:, None, ..., None], axis=-1)
        return largest.reshape(images, channels, *norms.shape[2:4])
