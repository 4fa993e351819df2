"""`Algebra`: an immutable table of structure constants, and the real matrix of left multiplication."""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

Constants = tuple[tuple[tuple[int, ...], ...], ...]
LeftTable = tuple[tuple[tuple[int, int], ...], ...]


_NO_TABLE = "`constants` of algebra {name!r} must be a table of n × n × n numbers with n ≥ 1"


@dataclass(frozen=True)
class Algebra:
    """A real algebra of dimension n whose basis products are again basis elements, up to sign.

    The basis is e_0 = 1, e_1, …; the structure constants say e_i e_j = Σ_k constants[i][j][k] e_k. Copies of an algebra, also
    by pickle, are the algebra itself if it is one of `ALGEBRAS`.

    Raises:
        ValueError: the constants are no table (n, n, n) of −1, 0 and 1, e_0 is not 1, or multiplication by a basis element
            does not permute the basis up to signs.
    """

    name: str
    constants: Constants
    left_table: LeftTable = field(init=False, repr=False, compare=False)
    """For row a and column b of the matrix of x ↦ w·x: the component of w that stands there, and its sign."""

    def __post_init__(self) -> None:
        try:  # lists become tuples, which can be compared and hashed
            table = tuple(tuple(tuple(row) for row in plane) for plane in self.constants)
        except TypeError as error:
            raise ValueError(_NO_TABLE.format(name=self.name)) from error
        object.__setattr__(self, "constants", table)
        # Made at once: compilers cannot follow a cached property, which takes a lock.
        object.__setattr__(self, "left_table", _left_table(self.name, self.constants))

    def __copy__(self) -> "Algebra":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Algebra":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.name, self.constants)

    @property
    def n(self) -> int:
        """Dimension over the reals."""
        return len(self.constants)

    @property
    def associative(self) -> bool:
        """Whether (a b) c = a (b c) for all numbers, so that the matrices multiply as the numbers do; not for octonions."""
        c = self.constants_tensor(torch.int64, "cpu")
        return torch.equal(torch.einsum("ijl,lkm->ijkm", c, c), torch.einsum("jkl,ilm->ijkm", c, c))

    @property
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


def _left_table(name: str, constants: Constants) -> LeftTable:
    """Return `Algebra.left_table`, or raise if the constants are those of no signed basis table."""
    n = len(constants)
    if n == 0 or any(len(plane) != n or any(len(row) != n for row in plane) for plane in constants):
        raise ValueError(_NO_TABLE.format(name=name))
    table = [[(0, 0)] * n for _ in range(n)]
    for i, plane in enumerate(constants):
        for j, row in enumerate(plane):
            places = [k for k, constant in enumerate(row) if constant]
            if len(places) != 1 or row[places[0]] not in (-1, 1):
                raise ValueError(f"`constants[{i}][{j}]` (={row}) of algebra {name!r} must hold a single 1 or −1")
            if 0 in (i, j) and row[i + j] != 1:
                raise ValueError(f"`constants[{i}][{j}]` (={row}) of algebra {name!r} must be that of 1·e_{i + j}: e_0 is 1")
            if table[places[0]][j] != (0, 0):
                raise ValueError(f"`constants` of algebra {name!r}: two products with e_{j} give the same e_{places[0]}")
            table[places[0]][j] = (i, row[places[0]])
    return tuple(tuple(row) for row in table)


def _restored(name: str, constants: Constants) -> Algebra:
    """Return the algebra that was pickled: the one of `ALGEBRAS` if it was, for which `is` may ask."""
    known = ALGEBRAS.get(name)
    return known if known is not None and known.constants == constants else Algebra(name, constants)


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
    if callable(getattr(algebra, "matrix", None)) and not isinstance(algebra, type):
        return cast(Algebra, algebra)
    if not isinstance(algebra, str) or algebra not in ALGEBRAS:
        raise ValueError(f"unknown algebra {algebra!r}; known: {', '.join(ALGEBRAS)}")
    return ALGEBRAS[algebra]
