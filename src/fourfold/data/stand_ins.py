"""What a pickle of images may name, and what stands in for it: our own small classes, never numpy's.

numpy's own `__setstate__` trusts what it is given, down to raw memory; the stand-ins check every size and type instead.
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = {
    "numpy.core.multiarray._reconstruct": "array",
    "numpy._core.multiarray._reconstruct": "array",
    "numpy.core.multiarray.scalar": "scalar",
    "numpy._core.multiarray.scalar": "scalar",
    "numpy.core.numeric._frombuffer": "frombuffer",
    "numpy._core.numeric._frombuffer": "frombuffer",
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
}
"""What a file may name, and our word for it. numpy 2 writes `_core`, Python 3 writes bytes by `encode` before protocol 3."""

_DTYPE = re.compile(r"[|<>=]?(b1|[iu][1248]|f[248])")


class RefusedError(Exception):
    """The file asks for something that plain data does not need."""


class Name:
    """One of `NAMES`, on the stack."""

    def __init__(self, word: str) -> None:
        self.word = word


class Dtype:
    """A number format such as u1; its byte order may follow in a BUILD."""

    def __init__(self, text: str) -> None:
        if not _DTYPE.fullmatch(text):
            raise RefusedError(f"an array of type {text[:20]!r}")
        self.numpy = np.dtype(text)


class ArrayStandIn:
    """An array, empty until its BUILD."""

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None


def as_text(value: Any) -> str:
    """Return a string of Python 3, or of Python 2, where it is bytes."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if type(value) is not str:
        raise TypeError("not a string")
    return value


def as_dtype(value: Any) -> np.dtype[Any]:
    """Return numpy's own type of numbers."""
    if not isinstance(value, Dtype):
        raise TypeError("not a type of numbers")
    return value.numpy


def as_array(shape: Any, dtype: Any, fortran: bool, raw: Any) -> NDArray[Any]:
    """Return an array over `raw`, whose length must be what the shape and the type need."""
    if type(shape) is not tuple or len(shape) > 8 or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("a shape that is none")
    if len(memoryview(raw)) != math.prod(shape) * as_dtype(dtype).itemsize:
        raise ValueError("an array with more or fewer bytes than its shape needs")
    return np.frombuffer(raw, as_dtype(dtype)).reshape(shape, order="F" if fortran else "C")


def kind(value: Any) -> str:
    """Say what a value is, for an error."""
    if isinstance(value, ArrayStandIn):
        return "an array"
    return "a name" if isinstance(value, Name | Dtype) else f"a value of type {type(value).__name__}"
