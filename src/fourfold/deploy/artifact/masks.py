"""Which weights of a product are kept: the cheapest of several codings, of single weights or of integers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.artifact.bits import DamageError, Symbols, packed_size
from fourfold.deploy.artifact.entropy import coded_size

Mask = NDArray[np.bool_]
"""(n, numbers): of every number of the algebra, which of its components are kept."""

Kept = NDArray[np.bool_]
"""Of every position, in order."""

POSITIONS = ("all", "bitmap", "gaps")
GAP_BITS = (3, 4, 5, 6, 8)


@dataclass(frozen=True, kw_only=True)
class MaskCoding:
    """How a mask is written."""

    unit: str = "weight"
    """`weight`: positions are those of all components, row by row; `number`: those of numbers with any component kept."""
    positions: str = "gaps"
    """`all`: every one is kept; `bitmap`: a bit each; `gaps`: how many are left out before each that is kept."""
    kept: int
    """Positions that are kept."""
    symbols: int = 0
    """Of the bitmap, or of the gaps, where the largest symbol stands for that many left out and none kept after them."""
    bits: int = 8
    """Of each of these symbols."""
    parts: bool = False
    """Whether each kept number's components are written too, as a symbol of n bits, component k being bit k; else all are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedMask:
    """A mask as symbols."""

    coding: MaskCoding
    positions: Symbols
    parts: Symbols

    def size(self, n: int, entropy: bool) -> float:
        """Return about how many bytes it takes."""
        coding = self.coding
        if entropy:
            return coded_size(self.positions, 1 << coding.bits) + coded_size(self.parts, 1 << n)
        return packed_size(len(self.positions), coding.bits) + packed_size(len(self.parts), n)


def encode_mask(mask: Mask, entropy: bool) -> CodedMask:
    """Return the coding of a mask that takes the fewest bytes, entropy coded or not."""
    return min(_codings(mask, entropy), key=lambda coded: coded.size(len(mask), entropy))


def decode_mask(coding: MaskCoding, shape: tuple[int, int], positions: Symbols, parts: Symbols) -> Mask:
    """Return the mask (n, numbers) of its symbols, which are as many as the coding says.

    Raises:
        DamageError: the symbols do not fit the shape.
    """
    n, numbers = shape
    size = numbers if coding.unit == "number" else n * numbers
    if coding.positions == "all":
        kept = np.ones(size, np.bool_)
    elif coding.positions == "bitmap":
        kept = positions.astype(np.bool_)
    else:
        kept = _from_gaps(positions, coding.bits, size)
    if kept.shape != (size,) or np.count_nonzero(kept) != coding.kept:
        raise DamageError(f"a mask of {size} positions keeps other than {coding.kept} of them")
    if coding.unit == "weight":
        return kept.reshape(shape)
    mask = np.repeat(kept[None], n, axis=0)
    if coding.parts:
        if (parts == 0).any():
            raise DamageError("a kept number keeps none of its components")
        mask[:, kept] = parts >> np.arange(n, dtype=np.uint8)[:, None] & 1
    return mask


def _codings(mask: Mask, entropy: bool) -> Iterator[CodedMask]:
    n = len(mask)
    yield from _of_positions("weight", mask.reshape(-1), np.empty(0, np.uint8), entropy)
    if n > 1:
        numbers = np.logical_or.reduce(mask, axis=0)
        parts = np.bitwise_or.reduce(mask[:, numbers] << np.arange(n, dtype=np.uint8)[:, None], axis=0)
        entire = (parts == (1 << n) - 1).all()
        yield from _of_positions("number", numbers, np.empty(0, np.uint8) if entire else parts, entropy)


def _of_positions(unit: str, kept: Kept, parts: Symbols, entropy: bool) -> Iterator[CodedMask]:
    def coded(positions: str, symbols: Symbols, bits: int) -> CodedMask:
        coding = MaskCoding(
            unit=unit,
            positions=positions,
            kept=int(np.count_nonzero(kept)),
            symbols=len(symbols),
            bits=bits,
            parts=len(parts) > 0,
        )
        return CodedMask(coding=coding, positions=symbols, parts=parts)

    if kept.all():
        yield coded("all", np.empty(0, np.uint8), 1)
        return
    if not entropy:
        yield coded("bitmap", kept.astype(np.uint8), 1)
    for bits in GAP_BITS:
        yield coded("gaps", _gaps(kept, bits), bits)


def _gaps(kept: Kept, bits: int) -> Symbols:
    """Return the number left out before each that is kept, in symbols; the next one adds to the largest."""
    most = (1 << bits) - 1
    gaps = np.diff(np.flatnonzero(kept), prepend=-1) - 1
    ends = np.cumsum(gaps // most + 1)
    symbols = np.full(ends[-1] if len(ends) else 0, most, np.uint8)
    symbols[ends - 1] = gaps % most
    return symbols


def _from_gaps(symbols: Symbols, bits: int, size: int) -> Kept:
    most = (1 << bits) - 1
    ends = symbols < most
    positions = np.cumsum(symbols.astype(np.int64) + ends)[ends] - 1
    if len(positions) and positions[-1] >= size:
        raise DamageError(f"a mask of {size} positions keeps one beyond them")
    kept = np.zeros(size, np.bool_)
    kept[positions] = True
    return kept
