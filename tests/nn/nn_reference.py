"""What a layer computes, written from the definition: one real layer of torch for every pair of components."""

from collections.abc import Callable

import torch
from torch import Tensor

from fourfold.algebra import Algebra, get

HYPERCOMPLEX = ["complex", "quaternion", "octonion"]


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_components(
    operation: Callable[[Tensor, Tensor], Tensor], weight: Tensor, bias: Tensor | None, x: Tensor, axis: int, name: str
) -> Tensor:
    """Sum the structure constants: component k of y is Σ_ij c_ijk operation(x_j, w_i), and then the bias is added."""
    algebra: Algebra = get(name)
    parts_w, parts_x = weight.chunk(algebra.n), x.chunk(algebra.n, dim=axis)
    parts_y = [torch.zeros(())] * algebra.n
    for i, w in enumerate(parts_w):
        for j, part in enumerate(parts_x):
            for k, c in enumerate(algebra.constants[i][j]):
                if c:
                    parts_y[k] = parts_y[k] + c * operation(part, w)
    y = torch.cat(parts_y, dim=axis)
    return y if bias is None else y + bias.view(-1, *[1] * (y.dim() - 1 - axis % y.dim()))
