"""`Algebra`: an immutable table of structure constants, and the real matrix of left multiplication."""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

Constants = tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True)
class Algebra:
    """A real algebra of dimension n whose basis products are again basis elements, up to sign.

    The basis is e_0 = 1, e_1, …; the structure constants say e_i e_j = Σ_k constants[i][j][k] e_k.
    """

    name: str
    constants: Constants

    @property
    def n(self) -> int:
        """Dimension over the reals."""
        return len(self.constants)

    @cached_property
    def left_table(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For row a and column b of the matrix of x ↦ w·x: the component of w that stands there, and its sign."""
        n = range(self.n)
        table = [[(0, 0)] * self.n for _ in n]
        for i in n:
            for j in n:
                (k,) = (k for k in n if self.constants[i][j][k])
                table[k][j] = (i, self.constants[i][j][k])
        return tuple(tuple(row) for row in table)

    @cached_property
    def associative(self) -> bool:
        """Whether (a b) c = a (b c) for all numbers, so that the matrices multiply as the numbers do; not for octonions."""
        c = self.constants_tensor(torch.int64, "cpu")
        return torch.equal(torch.einsum("ijl,lkm->ijkm", c, c), torch.einsum("jkl,ilm->ijkm", c, c))

    @cached_property
    def normed(self) -> bool:
        """Whether |a b| = |a| |b| for all numbers: real, complex, quaternion, octonion and no other (Hurwitz 1898)."""
        c = self.constants_tensor(torch.int64, "cpu")
        gram = torch.einsum("iak,jbk->ijab", c, c)
        one = torch.eye(self.n, dtype=torch.int64, device="cpu")
        return torch.equal(gram + gram.transpose(0, 1), 2 * torch.einsum("ij,ab->ijab", one, one))

    def matrix(self, weight: Tensor) -> Tensor:
        """Return the real matrix of left multiplication by `weight`: equation (4) of paper 1 for quaternions.

        Shapes: weight (n, out, in, *kernel) → (n·out, n·in, *kernel), components blocked along both axes.
        Law: `matrix(p·q) = matrix(p) matrix(q)` for associative algebras. With n = 1 it is `weight[0]` itself.
        """
        if self.n == 1:
            return weight[0]
        positive, negative = weight.unbind(0), (-weight).unbind(0)
        return torch.cat([torch.cat([(positive if s > 0 else negative)[c] for c, s in row], dim=1) for row in self.left_table])

    def constants_tensor(self, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Tensor:
        """Return the structure constants as a tensor (n, n, n): axes i, j, k of e_i e_j = Σ_k c_ijk e_k."""
        return torch.tensor(self.constants, dtype=dtype, device=device)

    def __repr__(self) -> str:
        return f"Algebra({self.name!r}, n={self.n})"


def cayley_dickson(constants: Constants) -> Constants:
    """Return the constants of the doubled algebra: (a, b)(c, d) = (ac − d*b, da + bc*)."""
    n = len(constants)

    def conjugate(i: int) -> int:
        return 1 if i == 0 else -1

    doubled = [[[0] * (2 * n) for _ in range(2 * n)] for _ in range(2 * n)]
    for i in range(n):
        for j in range(n):
            for k in range(n):
                doubled[i][j][k] = constants[i][j][k]  # ac
                doubled[n + i][n + j][k] = -conjugate(j) * constants[j][i][k]  # −d*b
                doubled[i][n + j][n + k] = constants[j][i][k]  # da
                doubled[n + i][j][n + k] = conjugate(j) * constants[i][j][k]  # bc*
    return tuple(tuple(tuple(row) for row in plane) for plane in doubled)


REAL = Algebra("real", (((1,),),))
COMPLEX = Algebra("complex", cayley_dickson(REAL.constants))
QUATERNION = Algebra("quaternion", cayley_dickson(COMPLEX.constants))
OCTONION = Algebra("octonion", cayley_dickson(QUATERNION.constants))

ALGEBRAS = {algebra.name: algebra for algebra in (REAL, COMPLEX, QUATERNION, OCTONION)}


def get(algebra: str | Algebra) -> Algebra:
    """Return an algebra by its name; an `Algebra`, or a `LearnedAlgebra` in its place, is returned as it is.

    Raises:
        ValueError: the name is in none of `ALGEBRAS`.
    """
    if callable(getattr(algebra, "matrix", None)):
        return cast(Algebra, algebra)
    if not isinstance(algebra, str) or algebra not in ALGEBRAS:
        raise ValueError(f"unknown algebra {algebra!r}; known: {', '.join(ALGEBRAS)}")
    return ALGEBRAS[algebra]
