"""What the native code needs of a linear layer that it multiplies with all its weights."""

import ctypes
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from fourfold.algebra import Algebra
from fourfold.native.perceptron import CAlgebra, CDense, CWatched, width
from fourfold.nn.product_algorithms import PRODUCTS, Products

ENOUGH = 16
"""Inputs and outputs, in elements, from which on few products are faster than the expanded matrix, as measured."""


class DenseWorkspace:
    """Buffers for the products of a layer, for batches up to a size.

    Few products are watched: where components of very different size would cost accuracy, the matrix is taken for a batch
    (`native/cancellation.c`).

    Args:
        algebra: Of the layer.
        mask: bool (outputs, inputs / n), which weights are kept.
        batch: Images.
        weight: Its weights as the steps hold them, float32 (weights,).
        gradient: Of these, the same.
    """

    def __init__(self, algebra: Algebra, mask: Tensor, batch: int, weight: Tensor, gradient: Tensor) -> None:
        self._alive: list[Any] = []
        self._algebra, self._mask, self._columns = algebra, mask, width(batch)
        self._outputs, self._inputs = mask.shape[0], mask.shape[1] * algebra.n
        self._weight, self._gradient = weight, gradient
        self._watching: CWatched | None = None
        few = PRODUCTS[torch.float32].get(algebra)
        if few is None or min(self._outputs, self._inputs) < ENOUGH * algebra.n:
            self.pointer: Any = self._by_matrix()
        else:
            self.pointer = self._by_products(few, self._watched())

    @property
    def by_matrix(self) -> bool:
        """Whether the last batch was multiplied by the expanded matrix of a layer that has few products."""
        return self._watching is not None and bool(self._watching.by_matrix)

    def _by_products(self, few: Products, watched: CWatched) -> Any:
        n, rank = self._algebra.n, few.rank
        matrices = map(self._address, (few.inputs, few.weights, few.outputs))
        room = (torch.zeros(rank, size // n, self._columns) for size in (self._inputs, self._outputs))
        return self._structure(CAlgebra(n, rank, *matrices, n, None), rank, n, room, watched)

    def _by_matrix(self) -> Any:
        """Return the layer by its expanded matrix, or as the real layer that it is."""
        n = self._algebra.n
        entries = [[sign * (component + 1) for component, sign in row] for row in self._algebra.left_table]
        table = self._address(torch.tensor(entries, dtype=torch.int32) if n > 1 else None)
        return self._structure(CAlgebra(1, 1, None, None, None, n, table), 1, 1, (None, None), None)

    def _structure(self, algebra: CAlgebra, rank: int, n: int, mixed: Iterable[Tensor | None], watched: CWatched | None) -> Any:
        """Return what the native code has of a layer of `rank` real ones. Memory that is never written is never taken."""
        sizes = rank, self._outputs // n, self._inputs // n
        if self._algebra.n == 1:  # the weights are the matrix
            products, products_gradient = self._weight, self._gradient
        else:
            products, products_gradient = torch.zeros(sizes), torch.zeros(sizes)
        structure = CDense(
            algebra,
            self._address(None if bool(self._mask.all()) else self._mask.flatten().float()),
            self._address(products),
            self._address(products_gradient),
            *map(self._address, mixed),
            self._address(torch.zeros(self._columns, rank * (self._inputs // n))),
            None if watched is None else ctypes.addressof(watched),
        )
        return ctypes.pointer(structure)

    def _watched(self) -> CWatched:
        sizes = self._inputs, self._outputs, 2 * self._algebra.n * self._columns
        self._watching = CWatched(self._by_matrix(), *(self._address(torch.zeros(size)) for size in sizes), 0, 0)
        return self._watching

    def _address(self, tensor: Tensor | None) -> int | None:
        """Keep a tensor; return where it begins."""
        if tensor is None:
            return None
        dense = tensor.contiguous()
        self._alive.append(dense)
        return dense.data_ptr()
