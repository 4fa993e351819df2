"""How much of its accuracy a layer loses when it is computed by few products, and where that is too much.

The products mix the components of an element before they multiply. So their rounding errors are as large as those of the
largest component, E = Σ (Σ_j |x_j|) max_i |w_i|, while each component of the result only has the size of its own terms,
T_k = Σ |x_j| |w_i| over the pairs with e_i e_j = ± e_k. Where components of very different size meet, E / T_k is large, and
small components of the result drown. Sizes are sums of absolute values over the positions of an image, or of one row, for
each component of each channel; E and T_k sum over the channels. The gradients have the same law, with other tensors.
"""

from functools import lru_cache

import torch
from torch import Tensor

from fourfold.algebra import Algebra
from fourfold.algebra.checking import widened

LARGEST_LOSS = 16.0
"""Of E / T_k: above it the expanded matrix is taken. Numbers with components of equal size have 1."""


def weight_sizes(weight: Tensor, n: int, groups: int, transposed: bool) -> tuple[Tensor, Tensor]:
    """Return the sizes of a stored weight, by input element and by output element: (n, inputs) and (n, outputs)."""
    first, second = weight.shape[:2]
    sizes = weight.detach().abs().reshape(n, groups, first // n // groups, -1)
    by_first = sizes.sum(-1).flatten(1)
    by_second = sizes.sum(2).reshape(n, groups * second, -1).sum(-1)
    return (by_first, by_second) if transposed else (by_second, by_first)


def map_sizes(x: Tensor, n: int) -> Tensor:
    """Return the sizes of the components of features or maps: (N, n·c, *size) → (N, n, c)."""
    sizes = x.detach().abs()
    if x.dim() > 2:
        sizes = sizes.sum(tuple(range(2, x.dim())))
    return widened(sizes).reshape(len(x), n, -1)


def of_output_is_kept(x: Tensor, sizes: Tensor, algebra: Algebra) -> bool:
    """Whether the products compute a layer of the inputs x accurately; `sizes` are those of its weight by input element."""
    return _balanced(sizes) or _kept(map_sizes(x, algebra.n), sizes, _pairs(algebra, (2, 1, 0)))


def of_input_gradient_is_kept(gradient: Tensor, sizes: Tensor, algebra: Algebra) -> bool:
    """Whether the products compute the gradient by the input accurately; `sizes` are the weight's by output element."""
    return _balanced(sizes) or _kept(map_sizes(gradient, algebra.n), sizes, _pairs(algebra, (1, 2, 0)))


def of_weight_gradient_is_kept(x: Tensor, gradient: Tensor, algebra: Algebra) -> bool:
    """Whether the products compute the gradient by the weight accurately."""
    of_gradient = map_sizes(gradient, algebra.n).sum(-1)
    if _balanced(of_gradient.sum(0).unsqueeze(-1)):
        return True
    of_input = map_sizes(x, algebra.n).sum(-1)
    return _kept(of_input.t().unsqueeze(0), of_gradient.t(), _pairs(algebra, (0, 1, 2)))


def _balanced(sizes: Tensor) -> bool:
    """Whether the components (n, c) of every element differ so little that no partner can lose more than is allowed."""
    smallest, largest = sizes.aminmax(dim=0)
    return bool((largest <= LARGEST_LOSS * smallest).all())


def _kept(left: Tensor, right: Tensor, pairs: Tensor) -> bool:
    """Whether E ≤ `LARGEST_LOSS` · T_k for all k; NaN and infinity are never kept.

    Shapes: left (N, n, c), right (n, c), pairs (n, n, n): for the result's, left's and right's component, 1 where they meet.
    """
    n = len(right)
    terms = torch.einsum("kji,ic->jck", pairs.to(right.dtype), right).reshape(-1, n)
    bounds = right.amax(0).expand(n, -1).reshape(-1, 1)
    sums = left.reshape(len(left), -1) @ torch.cat([terms, bounds], dim=1)
    return bool((sums[:, -1:] <= LARGEST_LOSS * sums[:, :-1]).all())


@lru_cache
def _pairs(algebra: Algebra, axes: tuple[int, int, int]) -> Tensor:
    """Return where e_i e_j = ± e_k, with the axes (i, j, k) in this order."""
    with torch.inference_mode(False):  # the tensor is kept, and training may need it next
        return algebra.constants_tensor(torch.float32, "cpu").abs().permute(axes).contiguous()
