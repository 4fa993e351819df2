"""Max pooling."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import Sums
from fourfold.deploy.ir.operation import Values
from fourfold.deploy.ir.ops._windows import Pool, windows

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Pool):
    """The largest of each window; what lies outside the map does not count."""

    dilation: tuple[int, int] = (1, 1)
    ceil: bool = False

    kind: ClassVar[str] = "max_pool"
    keeps_scale: ClassVar[bool] = True

    @property
    def gaps(self) -> tuple[int, int]:
        """From one place of a window to the next."""
        return self.dilation

    def compute(self, *inputs: Values) -> Values:
        """Return the largest of each window."""
        largest: Values = windows(self, inputs[0], -np.inf).max((4, 5))
        return largest

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the largest level of each window."""
        return self.compute(inputs[0].astype(np.float64)).astype(np.int64)
