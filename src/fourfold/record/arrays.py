"""Files of arrays by name, as safetensors: written with a digest where nothing else names one, and read within bounds."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fourfold.record.reading import READING_ERRORS
from fourfold.record.text import sentence

if TYPE_CHECKING:
    import numpy as np

Arrays = dict[str, "np.ndarray"]
"""Arrays by name. Masks are uint8, eight weights a byte, first weight in the highest bit."""

LARGEST_HEADER = 2**24
"""Bytes of the JSON before the arrays: names and sizes of some hundred thousand of them."""

LARGEST_ARRAYS = 2**40
"""Bytes of a file of arrays where no better limit is known."""

_DIGEST = "sha256"
"""What the metadata of a file has where its digest is in no row: that of the arrays and of whose they are."""


_BYTES_PER_PARAMETER, _BYTES_BESIDE = 64, 2**24


def most_bytes(parameters: int) -> int:
    """Return how long a file of a network's arrays may be: two networks, two averages each, a point to rewind to, and names."""
    return _BYTES_BESIDE + _BYTES_PER_PARAMETER * parameters


class ArraysError(Exception):
    """A file of arrays that is damaged; the message says how, on one line and without control characters."""

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message))


def mask_digest(packed: Mapping[str, "np.ndarray"]) -> str:
    """Return the SHA-256 of packed masks, names included: equal for equal masks on every machine."""
    digest = hashlib.sha256()
    for name in sorted(packed):
        digest.update(name.encode() + b"\0" + packed[name].tobytes())
    return digest.hexdigest()


def digest_of(arrays: Mapping[str, "np.ndarray"]) -> str:
    """Return the SHA-256 of arrays: of their names, types, shapes and bytes."""
    import numpy as np

    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def pack(arrays: Arrays, *, place: str | None = None) -> bytes:
    """Return the content of a file of arrays; for one that is given a place, with a digest of the arrays and of that."""
    import safetensors.numpy  # with numpy, which most commands do without

    return safetensors.numpy.save(arrays, None if place is None else {_DIGEST: _sealed(arrays, place)})


def unpack(content: bytes, *, place: str | None = None) -> Arrays:
    """Return the arrays of a file; no more memory is taken than its length and the arrays again.

    Args:
        content: Of the file.
        place: Whose arrays they must be, where the file has a digest.

    Raises:
        ArraysError: it is cut off or damaged, or its digest is that of others, or of another place.
    """
    import safetensors.numpy

    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(LARGEST_HEADER, len(content) - 8):
        raise ArraysError(f"its header of {size} bytes does not fit into a file of {len(content)}")
    try:
        arrays = safetensors.numpy.load(content)
        header: Any = json.loads(content[8 : 8 + size])
        expected = header.get("__metadata__", {}).get(_DIGEST)
    except (safetensors.SafetensorError, *READING_ERRORS) as error:
        raise ArraysError(f"it is no whole file of arrays: {error}") from error
    if expected not in (None, digest_of(arrays)) and (place is None or expected != _sealed(arrays, place)):
        raise ArraysError(f"its content is not what was written as {place or 'it'}: the SHA-256 differs")
    return arrays


def _sealed(arrays: Arrays, place: str) -> str:
    """Return the SHA-256 of arrays and of whose they are; the first files had that of the arrays alone."""
    return hashlib.sha256(f"{digest_of(arrays)}\0{place}".encode()).hexdigest()
