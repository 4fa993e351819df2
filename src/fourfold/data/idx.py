"""MNIST's own format, idx: a header of big-endian numbers, then one byte a pixel or label, gzipped or not."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fourfold.data.damage import BadFileError
from fourfold.record.files import open_regular

INFLATION = 1032
"""What deflate can make of one byte at most."""

_LARGEST = 10_000_000
"""More images than any file of this format holds; a header that claims more is damaged."""

TIMES_OFFICIAL = 20
"""How many times as many images as the official data set a file may hold: QMNIST has six times the test images of MNIST."""

_BLOCK = 2**20


def read_idx(path: Path, shape: tuple[int, ...], official: int | None = None) -> NDArray[np.uint8]:
    """Return the images or labels of an idx file, shape (N, *shape).

    Args:
        path: the file; a name that ends in .gz is unpacked.
        shape: height and width of the images, or () for labels.
        official: how many the official file holds; one that claims very many more is not read. None takes any.

    Raises:
        BadFileError: the file is empty, cut off, damaged, or of another kind or image size.
    """
    what = "images" if shape else "labels"
    try:
        with open_regular(path) as file:
            stream = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
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
            largest = _LARGEST if official is None else TIMES_OFFICIAL * official
            if not 1 <= count <= largest:
                raise BadFileError(path, f"says that it holds {count:,} {what}", f"1 to {largest:,} is right")
            expected = count * int(np.prod(shape, dtype=np.int64))
            size, inflation = path.stat().st_size, INFLATION if path.suffix == ".gz" else 1
            if expected > size * inflation:
                raise BadFileError(path, f"has only {size:,} bytes", f"the {count:,} {what} of its header need {expected:,}")
            content = np.empty(expected, dtype=np.uint8)
            read = _fill(stream, content.data)
            more = stream.read(1)  # it shows trailing bytes, and its absence lets gzip verify its checksum
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadFileError(path, f"is cut off or damaged ({error})", "a whole gzip file is right") from error
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror or error})", "a readable file is right") from error
    if read != expected or more:
        wrong = f"has {'more' if more else f'only {read:,}'} bytes of {what}"
        raise BadFileError(path, wrong, f"{expected:,} for the {count:,} {what} of its header is right")
    return content.reshape(count, *shape)


def _fill(stream: BinaryIO | gzip.GzipFile, memory: memoryview) -> int:
    """Read into memory until it is full or the file ends; return how many bytes there were."""
    read = 0
    while read < len(memory) and (block := stream.read(min(_BLOCK, len(memory) - read))):
        memory[read : read + len(block)] = block
        read += len(block)
    return read
