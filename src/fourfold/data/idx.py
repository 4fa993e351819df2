"""MNIST's own format, idx: a header of big-endian numbers, then one byte a pixel or label, gzipped or not."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.data.damage import BadFileError

_LARGEST = 10_000_000
"""More images than any file of this format holds; a header that claims more is damaged."""


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the images or labels of an idx file, shape (N, *shape).

    Args:
        path: the file; a name that ends in .gz is unpacked.
        shape: height and width of the images, or () for labels.

    Raises:
        BadFileError: the file is empty, cut off, damaged, or of another kind or image size.
    """
    what = "images" if shape else "labels"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(8 + 4 * len(shape))
            if len(header) < 8 + 4 * len(shape):
                raise BadFileError(path, f"has only {len(header)} bytes", f"an idx file of {what} begins with more")
            magic, count, *sizes = struct.unpack(f">{2 + len(shape)}I", header)
            right = 0x0801 + 0x0002 * bool(shape)
            if magic != right:
                raise BadFileError(path, f"begins with 0x{magic:08x}", f"an idx file of {what} begins with 0x{right:08x}")
            if tuple(sizes) != shape:
                wrong, wanted_size = ("×".join(map(str, side)) for side in (sizes, shape))
                raise BadFileError(path, f"holds images of {wrong}", f"{wanted_size} is right")
            if not 1 <= count <= _LARGEST:
                raise BadFileError(path, f"says that it holds {count:,} {what}", f"1 to {_LARGEST:,} is right")
            wanted = count * int(np.prod(shape, dtype=np.int64))
            # One byte more than there should be: it shows trailing bytes, and its absence lets gzip verify its checksum.
            content = bytearray(stream.read(wanted + 1))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadFileError(path, f"is cut off or damaged ({error})", "a whole gzip file is right") from error
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror or error})", "a readable file is right") from error
    if len(content) != wanted:
        wrong = f"has {'more' if len(content) > wanted else f'only {len(content):,}'} bytes of {what}"
        raise BadFileError(path, wrong, f"{wanted:,} for the {count:,} {what} of its header is right")
    return np.frombuffer(content, dtype=np.uint8).reshape(count, *shape)
