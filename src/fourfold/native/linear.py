"""The functions of `linear.c`, and what they are given."""

import ctypes
import functools

from fourfold.native.compiling import compiles, functions, joined
from fourfold.native.perceptron import CAlgebra

_COUNT, _ADDRESS, _ALGEBRA = ctypes.c_int64, ctypes.c_void_p, ctypes.POINTER(CAlgebra)

FILES = ("vectors", "tiles", "expansion")
"""What `linear.c` needs before it, in the order in which they need each other."""

_SIGNATURES = {
    "linear_room": (_COUNT, (_ALGEBRA, *[_COUNT] * 3)),
    "linear_forward": (None, (_ALGEBRA, *[_COUNT] * 3, *[_ADDRESS] * 5)),
    "linear_backward": (None, (_ALGEBRA, *[_COUNT] * 3, *[_ADDRESS] * 7)),
}


@functools.cache
def kernels() -> ctypes.CDLL:
    """Return the compiled functions; each is described in the C file.

    Raises:
        NoCompilerError: they cannot be compiled here.
    """
    return functions("linear", _SIGNATURES, joined(*FILES, "linear"))


@functools.cache
def available() -> bool:
    """Whether the functions compile here."""
    return compiles(kernels)
