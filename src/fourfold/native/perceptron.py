"""The functions of `perceptron.c`, and how wide its matrices are."""

import ctypes
import functools

from fourfold.native.compiling import library

_COUNT, _NUMBER, _ADDRESS = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p

_SIGNATURES = {
    "to_columns": (*[_COUNT] * 4, _ADDRESS, _COUNT, _ADDRESS),
    "spread": (_COUNT, *[_ADDRESS] * 4),
    "product": (_COUNT, *[_ADDRESS] * 5, _COUNT, _ADDRESS),
    "gradient": (_COUNT, *[_ADDRESS] * 6, _COUNT, _COUNT, *[_ADDRESS] * 2),
    "relu": (_COUNT, _ADDRESS),
    "relu_backward": (_COUNT, *[_ADDRESS] * 2),
    "cross_entropy": (*[_COUNT] * 3, *[_ADDRESS] * 4),
    "adam": (_COUNT, _COUNT, *[_NUMBER] * 5, *[_ADDRESS] * 4),
    "sgd": (_COUNT, _COUNT, _NUMBER, _NUMBER, _COUNT, _NUMBER, *[_ADDRESS] * 3),
}


@functools.cache
def kernels() -> ctypes.CDLL:
    """Return the compiled functions; each is described in the C file.

    Raises:
        NoCompilerError: they cannot be compiled here.
    """
    loaded = library("perceptron")
    for name, arguments in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, None
    return loaded


def width(batch: int) -> int:
    """Return the columns that a batch is padded to."""
    return -(-batch // 16) * 16
