"""The functions of `whitening.c`, and what they are given."""

import ctypes
import functools

from fourfold.native.compiling import compiles, functions, joined

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
    return functions("whitening", _SIGNATURES, joined("vectors", "whitening"))


@functools.cache
def available() -> bool:
    """Whether the functions compile here."""
    return compiles(kernels)
