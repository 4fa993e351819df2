"""Small integers, a few bits each, without gaps between them."""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Symbols = NDArray[np.uint8]


class DamageError(ValueError):
    """Bytes that no packing wrote; what reads the file names it."""


def pack_bits(symbols: Symbols, bits: int) -> Bytes:
    """Return numbers below 2^bits one after another, highest bit first, the last byte filled up with zeros."""
    if bits == 8:
        return symbols
    digits = symbols[:, None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8) & 1
    return np.packbits(digits)


def packed_size(count: int, bits: int) -> int:
    """Return how many bytes so many numbers take."""
    return -(-count * bits // 8)


def unpack_bits(packed: Bytes, count: int, bits: int) -> Symbols:
    """Return the numbers that `pack_bits` was given.

    Raises:
        DamageError: there are more or fewer bytes than so many numbers take.
    """
    if len(packed) != packed_size(count, bits):
        raise DamageError(f"{len(packed)} bytes do not hold {count} numbers of {bits} bits")
    if bits == 8:
        return packed
    digits = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    symbols: Symbols = np.bitwise_or.reduce(digits << np.arange(bits - 1, -1, -1, dtype=np.uint8), axis=1)
    return symbols
