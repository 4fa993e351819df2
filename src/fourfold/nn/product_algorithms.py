"""Bilinear algorithms for the product of an algebra: 8 real products for quaternions, 3 for complex numbers.

For quaternions: Howell & Lafon, "The complexity of the quaternion product", 1975; for complex numbers: Gauss.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.algebra import COMPLEX, QUATERNION, Algebra


@dataclass(frozen=True, eq=False)
class Products:
    """A bilinear algorithm for w·x: outputs @ ((weights @ w) * (inputs @ x)), on components along the first axis."""

    inputs: Tensor
    """E (r, n)."""
    weights: Tensor
    """M (r, n)."""
    outputs: Tensor
    """C (n, r)."""
    bias: Tensor
    """A right inverse (r, n) of C: a bias becomes one of the r layers, where it costs nothing."""

    @property
    def rank(self) -> int:
        """Number of real products r."""
        return len(self.inputs)


def _quaternion() -> Products:
    """The group algebra of ℤ₂ × ℤ₂ is diagonal in the Walsh–Hadamard basis; it has the wrong sign in four products."""
    hadamard = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    one = torch.eye(4)
    corrections = torch.stack([-one[0], one[3], one[1], one[2]], dim=1)
    return Products(
        inputs=torch.cat([hadamard, one]),
        weights=torch.cat([hadamard / 4, -2 * one[[0, 2, 3, 1]]]),
        outputs=torch.cat([torch.tensor([[-1.0], [1], [1], [1]]) * hadamard, corrections], dim=1),
        bias=torch.cat([torch.zeros(4, 4), corrections.t()]),
    )


def _complex() -> Products:
    """Gauss: ac − bd and (a + b)(c + d) − ac − bd."""
    basis = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    return Products(
        inputs=basis,
        weights=basis,
        outputs=torch.tensor([[1.0, -1, 0], [-1, -1, 1]]),
        bias=torch.tensor([[1.0, 0], [0, 0], [1, 1]]),
    )


def _in(dtype: torch.dtype) -> dict[Algebra, Products]:
    known = {QUATERNION: _quaternion(), COMPLEX: _complex()}
    return {algebra: Products(*(matrix.to(dtype) for matrix in vars(products).values())) for algebra, products in known.items()}


with torch.device("cpu"):
    PRODUCTS = {dtype: _in(dtype) for dtype in (torch.float32, torch.float64)}
"""The algorithms that are known, by the type in which they compute and by the algebra."""
