"""Rows of a table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import INDICES, Sums, nearest
from fourfold.deploy.ir.operation import Array, Operation, Shape, Values, named
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding(Operation):
    """(…) indices, as floats → (…, width): a row of the table for each; indices beyond it take its first or last row."""

    rows: int
    numbers: Array
    """(rows · width,)."""

    kind: ClassVar[str] = "embedding"
    arrays: ClassVar[tuple[str, ...]] = ("numbers",)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the indices with the width behind it."""
        if self.rows < 1 or self.rows > 2**24 or not self.numbers.size or self.numbers.size % self.rows:
            raise UserError(f"{named(self)} has {self.numbers.size} numbers, which are not {self.rows} rows")
        return *inputs[0], self.numbers.size // self.rows

    def compute(self, *inputs: Values) -> Values:
        """Return the rows."""
        table = self.numbers.astype(np.float64).reshape(self.rows, -1)
        rows: Values = table[np.clip(np.nan_to_num(inputs[0]), 0, self.rows - 1).astype(np.int64)]
        return rows

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless indices are levels of the network's input, which are bytes."""
        if self.rows > INDICES.largest + 1 or quantized.levels[self.inputs[0]] != INDICES:
            raise UserError(
                f"{named(self)} has `rows` (={self.rows}), which must be at most {INDICES.largest + 1} in int8, where indices "
                "are bytes of the network's input; deploy the network in float32"
            )

    def table(self, quantized: "Quantized") -> Sums:
        """Return the levels of all rows, (rows, width)."""
        self.check_int8(quantized)
        return nearest(self.numbers.astype(np.float64), quantized.levels[self.output]).reshape(self.rows, -1)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the rows' levels."""
        return self.table(quantized)[np.minimum(inputs[0], self.rows - 1)]
