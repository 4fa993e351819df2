"""Finite-dimensional real algebras given by their structure constants, and the arithmetic of their elements."""

from fourfold.algebra.algebra import ALGEBRAS, COMPLEX, OCTONION, QUATERNION, REAL, Algebra, cayley_dickson, get
from fourfold.algebra.elements import conjugate, dot, exp, inverse, log, norm, power, product, unit
from fourfold.algebra.learned import LearnedAlgebra
from fourfold.algebra.rotation import axis_angle, from_axis_angle, from_rotation_matrix, rotate, rotation_matrix, slerp

__all__ = [
    "ALGEBRAS",
    "COMPLEX",
    "OCTONION",
    "QUATERNION",
    "REAL",
    "Algebra",
    "LearnedAlgebra",
    "axis_angle",
    "cayley_dickson",
    "conjugate",
    "dot",
    "exp",
    "from_axis_angle",
    "from_rotation_matrix",
    "get",
    "inverse",
    "log",
    "norm",
    "power",
    "product",
    "rotate",
    "rotation_matrix",
    "slerp",
    "unit",
]
