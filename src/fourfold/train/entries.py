"""Where the kept weights of a linear layer stand in its real matrix."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.algebra import Algebra


@dataclass(frozen=True, eq=False)
class Entries:
    """The entries of a sparse real matrix row by row, each a kept weight up to its sign."""

    start: Tensor
    """int32 (rows + 1,): row r has the entries start[r] … start[r + 1]."""
    column: Tensor
    """int32 (entries,)."""
    source: Tensor
    """int32 (entries,), which of the kept weights."""
    sign: Tensor
    """float32 (entries,), 1 or −1."""

    @classmethod
    def sort(cls, num_rows: int, row: Tensor, column: Tensor, source: Tensor, sign: Tensor) -> "Entries":
        """Bring entries in any order into the order of rows, those of a row into the order of columns."""
        order = torch.argsort(row * 2**31 + column)
        start = torch.zeros(num_rows + 1, dtype=torch.int64)
        start[1:] = torch.bincount(row, minlength=num_rows).cumsum(0)
        return cls(start.int(), column[order].int(), source[order].int(), sign[order].float())


def expand(mask: Tensor, algebra: Algebra) -> tuple[Entries, Entries]:
    """Return the entries of the real matrix (out, in), and those of its transpose.

    The mask (out, in / n) of a stored weight is expanded as `Algebra.matrix` expands the weight; the kept weights are
    numbered in row-major order.
    """
    n = algebra.n
    out, inputs = mask.shape[0] // n, mask.shape[1]
    number = (mask.flatten().cumsum(0) - 1).view(n, out, inputs)
    kept = mask.view(n, out, inputs)
    rows, columns, sources, signs = [], [], [], []
    for block_row, blocks in enumerate(algebra.left_table):
        for block_column, (component, sign) in enumerate(blocks):
            row, column = kept[component].nonzero(as_tuple=True)
            rows.append(row + block_row * out)
            columns.append(column + block_column * inputs)
            sources.append(number[component][row, column])
            signs.append(torch.full_like(row, sign))
    row, column, source, sign_of = map(torch.cat, (rows, columns, sources, signs))
    return (
        Entries.sort(n * out, row, column, source, sign_of),
        Entries.sort(n * inputs, column, row, source, sign_of),
    )
