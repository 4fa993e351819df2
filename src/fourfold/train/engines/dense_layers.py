"""What the native code needs of a linear layer that it multiplies with all its weights."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from fourfold.algebra import Algebra
from fourfold.native.perceptron import CAlgebra, CDense, width
from fourfold.nn import few_products

ENOUGH = 16
"""Inputs and outputs, in elements, from which on few products are faster than the expanded matrix, as measured."""


class DenseWorkspace:
    """Buffers for the products of a layer, for batches up to a size.

    Args:
        algebra: Of the layer.
        mask: bool (outputs, inputs / n), which weights are kept.
        batch: Images.
        weight: Its weights as the steps hold them, float32 (weights,).
        gradient: Of these, the same.
    """

    def __init__(self, algebra: Algebra, mask: Tensor, batch: int, weight: Tensor, gradient: Tensor) -> None:
        self._alive: list[Tensor] = []
        components = algebra.n
        outputs, inputs = mask.shape[0], mask.shape[1] * components
        few = few_products.PRODUCTS[torch.float32].get(algebra)
        if few is not None and min(inputs, outputs) >= ENOUGH * components:
            n, rank, table = components, few.rank, None
            matrices: list[Tensor | None] = [few.inputs, few.weights, few.outputs]
        else:
            n, rank, matrices = 1, 1, [None] * 3
            entries = [[sign * (component + 1) for component, sign in row] for row in algebra.left_table]
            table = torch.tensor(entries, dtype=torch.int32) if components > 1 else None
        sizes, columns = (rank, outputs // n, inputs // n), width(batch)
        products, products_gradient = (
            (weight, gradient) if components == 1 else (torch.zeros(sizes), torch.zeros(sizes))  # the weights are the matrix
        )
        structure = CDense(
            CAlgebra(n, rank, *map(self._address, matrices), components, self._address(table)),
            self._address(None if bool(mask.all()) else mask.flatten().float()),
            self._address(products),
            self._address(products_gradient),
            *(self._address(torch.zeros(rank, size, columns) if n > 1 else None) for size in (inputs // n, outputs // n)),
            self._address(torch.zeros(columns, rank * (inputs // n))),
        )
        self.pointer: Any = ctypes.pointer(structure)

    def _address(self, tensor: Tensor | None) -> int | None:
        """Keep a tensor; return where it begins."""
        if tensor is None:
            return None
        self._alive.append(tensor.contiguous())
        return self._alive[-1].data_ptr()
