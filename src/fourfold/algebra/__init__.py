"""Finite-dimensional real algebras given by their structure constants, and the arithmetic of their elements."""

from fourfold.algebra.algebra import ALGEBRAS, COMPLEX, OCTONION, QUATERNION, REAL, Algebra, cayley_dickson, get
from fourfold.algebra.elements import conjugate, exp, inverse, log, norm, product, rotate

__all__ = [
    "ALGEBRAS",
    "COMPLEX",
    "OCTONION",
    "QUATERNION",
    "REAL",
    "Algebra",
    "cayley_dickson",
    "conjugate",
    "exp",
    "get",
    "inverse",
    "log",
    "norm",
    "product",
    "rotate",
]
