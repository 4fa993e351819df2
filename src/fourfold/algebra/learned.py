"""`LearnedAlgebra`: structure constants that are trained with the weights."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from fourfold.algebra.algebra import Algebra, get
from fourfold.algebra.checking import without_autocast


class LearnedAlgebra(nn.Module):
    """An algebra of dimension n ≥ 2 whose structure constants are a parameter (Zhang et al. 2021, equation 4).

    The parameter `constants` (n, n, n) has the axes i, j, k of e_i e_j = Σ_k constants[i, j, k] e_k, so that equation 4's
    A_i is `constants[i]` transposed. A layer that is given one has it as its submodule `algebra`; layers that are given the
    same one share it.

    Args:
        n: Dimension over the reals. Default: that of `start`.
        start: A fixed algebra or its name, or `random`: normal, each block of the real matrix with the weight's variance.
        device: Where the constants lie.
        dtype: Their type; a weight of another type sees them rounded to its own.
        generator: What `random` draws from; None is torch's global state.

    Raises:
        ValueError: n is less than 2, or not that of `start`.
    """

    name = "learned"
    associative = False
    normed = False

    constants: Tensor

    def __init__(
        self,
        n: int | None = None,
        start: str | Algebra = "random",
        device: Any = None,
        dtype: Any = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.start = None if start == "random" else get(start)
        if n is None and self.start is None:
            raise ValueError("`n` (=None) must be given with `start` (='random')")
        self.n = self.start.n if n is None and self.start is not None else int(n or 0)
        if self.n < 2:
            raise ValueError(f"`n` (={self.n}) must be at least 2: real numbers leave no algebra to learn")
        if self.start is not None and self.start.n != self.n:
            raise ValueError(f"`n` (={self.n}) must be {self.start.n}, the dimension of `start` (={self.start.name!r})")
        self.constants = nn.Parameter(torch.empty(self.n, self.n, self.n, device=device, dtype=dtype))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Start afresh: from the fixed algebra, or from a new draw."""
        with torch.no_grad():
            if self.start is not None:
                self.constants.copy_(self.start.constants_tensor(device=self.constants.device))
            elif not self.constants.is_meta:
                # Block (k, j) of the real matrix is Σ_i constants[i, j, k] w_i: unit vectors over i keep the variance of w.
                constants = self.constants.normal_(generator=generator)
                self.constants.copy_(nn.functional.normalize(constants, dim=0))

    def matrix(self, weight: Tensor) -> Tensor:
        """Return the real matrix Σ_i A_i ⊗ weight_i of left multiplication.

        Shapes: weight (n, out, in, *kernel) → (n·out, n·in, *kernel), components blocked along both axes.
        """
        return learned_matrix(self.constants, weight)

    def constants_tensor(self, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Tensor:
        """Return the structure constants as they are now; gradients flow back to the parameter."""
        return self.constants.to(device=device, dtype=dtype)

    def variance_gain(self, variances: Sequence[float]) -> float:
        """Return the variance of the real matrix's entries, from those of the n components of the weight."""
        squares: list[float] = self.constants.detach().double().square().sum((1, 2)).tolist()
        return sum(v * s for v, s in zip(variances, squares, strict=True)) / self.n**2

    def extra_repr(self) -> str:
        """Return the dimension and where it started from."""
        return f"n={self.n}, start={'random' if self.start is None else self.start.name!r}"


def learned_matrix(constants: Tensor, weight: Tensor) -> Tensor:
    """Return the real matrix of left multiplication by `weight` from structure constants.

    Shapes: constants (n, n, n), weight (n, out, in, *kernel) → (n·out, n·in, *kernel).
    """
    n, out, num_in, *kernel = weight.shape
    table = constants.to(weight.dtype).permute(2, 1, 0).reshape(n * n, n)
    with without_autocast(weight.device.type):  # as the matrices of fixed algebras: what multiplies with it rounds it, once
        blocks = (table @ weight.reshape(n, -1)).view(n, n, out, num_in, *kernel)
    return blocks.transpose(1, 2).reshape(n * out, n * num_in, *kernel)
