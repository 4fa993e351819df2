"""The functions of `convolution.c`, what they are given, and how their work is divided."""

import ctypes
import functools
from collections.abc import Sequence

from fourfold.native.compiling import compiles, functions

_COUNT, _ADDRESS = ctypes.c_int64, ctypes.c_void_p

CACHE_BYTES = 640 << 10
"""Packed data of a chunk: what leaves room for weights in a second-level cache of 1 MiB."""

MOST_CHANNELS = 256
"""Channels of a component that the kernels are compiled for."""

FIELDS = (
    *("images", "height", "width", "rows", "columns", "kernel_rows", "kernel_columns", "top", "left"),
    *("components", "products", "inputs", "outputs"),
)


class CConvolution(ctypes.Structure):
    """A convolution, as the C file describes it."""

    _fields_ = [*((name, _COUNT) for name in FIELDS), ("mix", _ADDRESS), ("unmix", _ADDRESS)]


_CONVOLUTION = ctypes.POINTER(CConvolution)

_SIGNATURES = {
    "convolve_all": (None, [_CONVOLUTION, *[_ADDRESS] * 4, _COUNT, _COUNT, _ADDRESS]),
    "weight_gradient": (None, [_CONVOLUTION, *[_ADDRESS] * 3, _COUNT, _COUNT, _ADDRESS]),
    "workspace_bytes": (_COUNT, [_CONVOLUTION, _COUNT, _COUNT, _COUNT]),
    "lanes": (_COUNT, []),
}


@functools.cache
def kernels(bf16: bool) -> ctypes.CDLL:
    """Return the compiled functions for float32 or bfloat16 activations; each is described in the C file.

    Raises:
        NoCompilerError: they cannot be compiled here, or the processor does not multiply bfloat16.
    """
    return functions("convolution", _SIGNATURES, "#define BF16\n" if bf16 else "")


@functools.cache
def available(bf16: bool) -> bool:
    """Whether the functions compile here, for a processor that multiplies such numbers."""
    return compiles(lambda: kernels(bf16))


def divided(convolution: CConvolution, bf16: bool, gradient: bool) -> tuple[int, int, int]:
    """Return the output rows of a strip, the strips of a chunk, and the bytes of workspace that they take.

    Strips are as high as the cache allows, and whole images share a chunk where several fit.
    """
    size = kernels(bf16).workspace_bytes
    height = convolution.rows
    while height > 2 and size(convolution, height, 1, gradient) > CACHE_BYTES:
        height = -(-height // 2)
    strips = -(-convolution.rows // height) * convolution.images
    slots = max(1, min(strips, CACHE_BYTES // size(convolution, height, 1, gradient)))
    return height, slots, size(convolution, height, slots, gradient)


def described(values: Sequence[int], mix: int, unmix: int) -> CConvolution:
    """Return a convolution from its `FIELDS` and the addresses of its two matrices."""
    return CConvolution(*values, mix, unmix)
