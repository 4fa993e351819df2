"""Arrays of an .npz file, in which nothing is trusted: no pickle is read, and no memory is taken that the file cannot fill."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.data.damage import BadFileError
from fourfold.record.errors import UserError
from fourfold.record.text import shortened

INFLATION = 1032
"""What deflate can make of one byte at most."""

_HEADER = 2**16
"""Bytes of the header of an array at most."""

_PARTS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
_INPUTS, _TARGETS = ("x", "inputs", "images"), ("y", "targets", "labels")

EXPECTED = "arrays x_train, y_train, x_test, y_test (and x_val, y_val)"

_RIGHT = f"expected {EXPECTED}, as `numpy.savez` writes them"


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file by their names.

    Raises:
        UserError: no file, or one that is damaged, of another kind, or holds Python objects.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path}: expected an .npz file, found {'a folder' if path.is_dir() else 'none'}")
        if not zipfile.is_zipfile(path):
            raise BadFileError(path, "is not an .npz file", _RIGHT)
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            return {member.filename.removesuffix(".npy"): _read(path, archive, member) for member in members}
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{path} does not fit into memory; give arrays of `numpy.load(..., mmap_mode='r')` instead") from None
    except Exception as error:  # numpy evaluates headers as Python, which raises whatever a damaged one leads to
        raise BadFileError(path, f"cannot be read ({_reason(error)})", _RIGHT) from error


def _read(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Return one array, whose size must be what its header says and what its bytes can hold."""
    if member.file_size > INFLATION * member.compress_size + _HEADER:
        raise ValueError(f"{member.filename} claims more bytes than it has")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"{member.filename} is of version {version}")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        if dtype.hasobject:
            raise BadFileError(path, f"holds Python objects in {member.filename}", "expected plain numbers or text")
        size = dtype.itemsize * int(np.prod([int(length) for length in shape], dtype=object))
        if size != member.file_size - stream.tell() or size < 0:
            raise ValueError(f"{member.filename} has {member.file_size - stream.tell():,} bytes, and its header needs {size:,}")
        raw = stream.read()  # to its end, where the checksum is compared
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C") if size else np.empty(shape, dtype)


def parts_of(arrays: Mapping[str, NDArray[Any]], path: Path) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return inputs and targets of each part that a file has; see `EXPECTED` for their names.

    Arrays `x` and `y` alone are the training part.

    Raises:
        UserError: a part that is not whole, or no training part.
    """
    parts: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    for part, words in _PARTS.items():
        inputs, targets = _named(arrays, words, _INPUTS), _named(arrays, words, _TARGETS)
        if part == "train":
            inputs, targets = inputs or _plain(arrays, _INPUTS), targets or _plain(arrays, _TARGETS)
        if (inputs is None) != (targets is None):
            raise UserError(f"{path}: expected inputs and targets of each part, found {inputs or targets!r} alone")
        if inputs is not None and targets is not None:
            parts[part] = arrays[inputs], arrays[targets]
    if "train" not in parts:
        listed = shortened(", ".join(arrays) or "no arrays", 200)
        raise UserError(f"{path}: expected {EXPECTED}, found {listed}")
    return parts


def _named(arrays: Mapping[str, Any], parts: tuple[str, ...], words: tuple[str, ...]) -> str | None:
    names = (name for part in parts for word in words for name in (f"{word}_{part}", f"{part}_{word}"))
    return next((name for name in names if name in arrays), None)


def _plain(arrays: Mapping[str, Any], words: tuple[str, ...]) -> str | None:
    return next((word for word in words if word in arrays), None)


def _reason(error: Exception) -> str:
    return shortened(str(error).partition("\n")[0] or type(error).__name__, 200)
