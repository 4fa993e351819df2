"""Layers of torch.nn with several weights, each stored as blocks of algebra matrices: gates, directions, heads."""

import math
from typing import Any

import torch
from torch import Generator, Tensor, nn

from fourfold.algebra import Algebra
from fourfold.nn import init
from fourfold.nn.caching import cached
from fourfold.nn.components import NumberLayer
from fourfold.nn.conv import regroup
from fourfold.nn.expansion import can_expand, expand, plan_of_blocks


def real_matrix(weight: Tensor, algebra: Algebra, row_blocks: int = 1, column_blocks: int = 1) -> Tensor:
    """Return the real matrix of a stored weight whose rows, and columns, fall into blocks that hold elements.

    Shapes: weight (row_blocks · n · out, column_blocks · in) → (row_blocks · n · out, column_blocks · n · in); each block
    is an algebra matrix, blocked by component within itself. Gates are such blocks, and directions, and heads.
    """
    n = algebra.n
    if n == 1:
        return weight
    if can_expand(weight):
        out, width = weight.shape[0] // row_blocks // n, weight.shape[1] * n
        return expand(weight, plan_of_blocks(algebra, row_blocks, out, column_blocks, weight.dtype), (weight.shape[0], width))
    numbers = regroup(weight, 0, row_blocks, n).unflatten(0, (n, -1))  # type: ignore[no-untyped-call]
    return regroup(regroup(algebra.matrix(numbers), 0, n, row_blocks), 1, n, column_blocks)


def draw_(weight: Tensor, algebra: Algebra, variance: float, form: str = "polar", generator: Generator | None = None) -> None:
    """Draw a stored weight (out, in / n, *kernel) in one of `init.FORMS` so that its real matrix has a given variance."""
    init.weight_(weight, algebra, form=form, generator=generator)
    fan_in = weight[0].numel() * algebra.n
    with torch.no_grad():
        weight.mul_(math.sqrt(3 * fan_in * variance))  # `weight_` draws with a variance of 1 / (3 fan_in)


class AsReal:
    """A layer as torch's own `forward` shall see it: with real matrices in the place of its stored weights.

    The layer itself is left alone, so threads may share it.
    """

    def __init__(self, layer: nn.Module, **replaced: Any) -> None:
        self._layer = layer
        for name, value in replaced.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


class BlockedLayer(NumberLayer):
    """Mixed in before a layer of torch.nn that has several weights, each stored as blocks of algebra matrices."""

    def _weight_names(self) -> list[str]:
        raise NotImplementedError

    def _blocks(self, name: str) -> tuple[int, int]:
        """Return how many blocks of rows and of columns a weight has."""
        raise NotImplementedError

    def _use(self, algebra: Algebra, device: Any) -> None:
        """Take an algebra after torch's constructor has run on the meta device, and allocate what is stored for it."""
        self.algebra = algebra
        names = self._weight_names()
        for name, parameter in list(self.named_parameters(recurse=False)):
            shape = list(parameter.shape)
            if name in names:
                shape[1] //= algebra.n
            setattr(self, name, nn.Parameter(torch.empty(shape, device=device, dtype=parameter.dtype)))

    def _draw(self, bound: float) -> None:
        """Draw biases uniformly within ± bound, and weights whose real matrices have the variance of such numbers."""
        weights = self._weight_names()
        for name, parameter in self.named_parameters(recurse=False):
            if name not in weights:
                nn.init.uniform_(parameter, -bound, bound)
                continue
            for block in parameter.detach().chunk(self._blocks(name)[0]):
                draw_(block, self.algebra, bound**2 / 3)

    def stored_weights(self) -> dict[str, Tensor]:
        """Return the stored weights, those that pruning acts on, by the names of their parameters."""
        return {name: getattr(self, name) for name in self._weight_names()}

    def real_weights(self) -> dict[str, Tensor]:
        """Return the real matrices of the stored weights: the weights of torch's own layer, by the same names."""
        return {name: real_matrix(weight, self.algebra, *self._blocks(name)) for name, weight in self.stored_weights().items()}

    def expanded_weights(self) -> dict[str, Tensor]:
        """Return `real_weights()` of the stored weights, cached while the layer only evaluates: see `fourfold.nn.caching`."""
        weights, algebra = self.stored_weights(), self.algebra
        if algebra.n == 1:
            return weights
        blocks = tuple(self._blocks(name) for name in weights)

        def make(*sources: Tensor) -> list[Tensor]:
            return [real_matrix(source, algebra, *counts) for source, counts in zip(sources, blocks, strict=True)]

        matrices = cached(self, "matrices", make, tuple(weights.values()), (algebra, blocks))
        return dict(zip(weights, matrices, strict=True))
