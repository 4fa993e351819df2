"""Where the kept weights of a linear layer stand in its real matrix."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.algebra import Algebra

BLOCK = 98
"""Columns whose inputs, 64 floats each, fit into a first-level cache of 32 KiB beside a row of outputs."""

WORTH = 4
"""Entries of a row in a block that are worth beginning the row once more."""


@dataclass(frozen=True, eq=False)
class Entries:
    """The entries of a sparse real matrix, block of columns by block of columns, each a kept weight up to its sign."""

    blocks: int
    """Of as many columns each, the last one perhaps of fewer."""
    start: Tensor
    """int32 (blocks · rows + 1,): row r has in block b the entries start[b · rows + r] … start[b · rows + r + 1]."""
    column: Tensor
    """int32 (entries,)."""
    source: Tensor
    """int32 (entries,), which of the kept weights; the numbers after those are of the weights' negatives."""

    @property
    def rows(self) -> int:
        """Of the matrix."""
        return (len(self.start) - 1) // self.blocks

    def met_columns(self, columns: int) -> Tensor:
        """Return bool (columns,), which of so many have an entry."""
        return torch.zeros(columns, dtype=torch.bool).index_fill_(0, self.column.long(), True)

    @classmethod
    def sort(cls, shape: tuple[int, int], row: Tensor, column: Tensor, source: Tensor) -> "Entries":
        """Bring entries in any order into that of blocks, in a block of rows, and in a row of columns.

        Args:
            shape: Rows and columns of the matrix.
            row: int64 (entries,).
            column: int64 (entries,).
            source: int64 (entries,).
        """
        rows, columns = shape
        blocks = max(1, min(-(-columns // BLOCK), len(row) // (WORTH * rows)))
        width = -(-columns // blocks)
        place = column // width * rows + row
        order = torch.argsort(place * columns + column)
        start = torch.zeros(blocks * rows + 1, dtype=torch.int64)
        start[1:] = torch.bincount(place, minlength=blocks * rows).cumsum(0)
        return cls(blocks, start.int(), column[order].int(), source[order].int())


def expand(mask: Tensor, algebra: Algebra) -> tuple[Entries, Entries]:
    """Return the entries of the real matrix (out, in), and those of its transpose.

    The mask (out, in / n) of a stored weight is expanded as `Algebra.matrix` expands the weight; the kept weights are
    numbered in row-major order.
    """
    n = algebra.n
    out, inputs = mask.shape[0] // n, mask.shape[1]
    number = (mask.flatten().cumsum(0) - 1).view(n, out, inputs)
    kept, count = mask.view(n, out, inputs), int(mask.sum())
    rows, columns, sources = [], [], []
    for block_row, blocks in enumerate(algebra.left_table):
        for block_column, (component, sign) in enumerate(blocks):
            row, column = kept[component].nonzero(as_tuple=True)
            rows.append(row + block_row * out)
            columns.append(column + block_column * inputs)
            sources.append(number[component][row, column] + (count if sign < 0 else 0))
    row, column, source = map(torch.cat, (rows, columns, sources))
    return (
        Entries.sort((n * out, n * inputs), row, column, source),
        Entries.sort((n * inputs, n * out), column, row, source),
    )
