"""The functions of `whitening.c`, and what they are given."""

import ctypes
import functools

from fourfold.native.compiling import NoCompilerError, library
from fourfold.native.perceptron import joined

MOST_COMPONENTS = 8
"""Components of an element that the functions know at most."""


class CMap(ctypes.Structure):
    """Sizes and strides of a map, as `struct map` has them."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("images", "numbers", "positions", "image_stride", "component_stride", "number_stride", "position_stride")
    ]


_COUNT, _ADDRESS, _MAP, _REAL = ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(CMap), ctypes.c_double

_SIGNATURES = {
    "whitening_forward": (_COUNT, (_COUNT, _MAP, *[_ADDRESS] * 3, *[_REAL] * 3, *[_ADDRESS] * 5)),
    "whitening_backward": (None, (_COUNT, _MAP, *[_ADDRESS] * 9)),
    "whitening_mix": (None, (_COUNT, _MAP, *[_ADDRESS] * 4)),
}


@functools.cache
def kernels() -> ctypes.CDLL:
    """Return the compiled functions; each is described in the C file.

    Raises:
        NoCompilerError: they cannot be compiled here.
    """
    loaded = library("whitening", joined("vectors", "whitening"))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, result
    return loaded


@functools.cache
def available() -> bool:
    """Whether the functions compile here."""
    try:
        kernels()
    except NoCompilerError:
        return False
    return True
