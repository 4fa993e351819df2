"""The functions of `groups.c`, and what they are given."""

import ctypes
import functools

from fourfold.native.compiling import compiles, functions, joined


class CGroups(ctypes.Structure):
    """Sizes and the layout of a batch, as `struct groups` has them."""

    _fields_ = [(name, ctypes.c_int64) for name in ("images", "components", "numbers", "groups", "positions", "by_channel")]


_COUNT, _ADDRESS, _GROUPS = ctypes.c_int64, ctypes.c_void_p, ctypes.POINTER(CGroups)

_SIGNATURES = {
    "groups_forward": (None, (_GROUPS, *[_ADDRESS] * 3, ctypes.c_double, *[_ADDRESS] * 4)),
    "groups_backward": (None, (_GROUPS, *[_ADDRESS] * 9)),
    "rows_forward": (None, (*[_COUNT] * 3, *[_ADDRESS] * 3, ctypes.c_double, *[_ADDRESS] * 3)),
    "rows_backward": (None, (*[_COUNT] * 3, *[_ADDRESS] * 9)),
}


@functools.cache
def kernels() -> ctypes.CDLL:
    """Return the compiled functions; each is described in the C file.

    Raises:
        NoCompilerError: they cannot be compiled here.
    """
    return functions("groups", _SIGNATURES, joined("vectors", "groups"))


@functools.cache
def available() -> bool:
    """Whether the functions compile here."""
    return compiles(kernels)
