"""The values of kept weights: floats, integers with a scale for each output, or 4 bits into a codebook."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fourfold.deploy.artifact.bits import DamageError, Symbols
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.quantize import WEIGHT_LEVELS
from fourfold.record.errors import UserError

Mask = NDArray[np.bool_]
"""Of the weight's own shape."""

Numbers = NDArray[np.float64]

CODEBOOK_SIZE = 16
COSTLY = 0.02
"""Squared error of an output's weights, by their squares, from which on scales are worth their bytes: 16 entries have 0.01
for weights that are normally distributed."""

SHARE_STEPS = 2**15
"""Of a weight as a share of its output's largest: rounding to them makes shares the same after any multiplication."""

LARGEST_HALF = 65504.0
"""The largest finite number of 16 bits."""
_ROUNDS = 100
"""Of k-means, which ends before where nothing moves any more."""


@dataclass(frozen=True, kw_only=True)
class ValueCoding:
    """One way to store the kept weights of a product, in row-major order."""

    bits: int
    """Of each value."""
    dtype: DTypeLike
    """Of the array of values as it is stored without entropy coding."""
    symbols: bool
    """Whether values are small integers, which can be entropy coded."""
    side: str
    """The name of the second array that values need; empty for none."""
    encode: Callable[[Array, Mask], tuple[NDArray[Any], Array | None]]
    """From weights (n, out, …) and their mask to the values and the second array."""
    decode: Callable[[NDArray[Any], Array | None, Mask], Array]
    """The way back, exact but for what `encode` rounds."""

    def stored_type(self, stream: str) -> DTypeLike:
        """Return the type of the array that holds a product's `positions`, `parts` or `values`."""
        return self.dtype if stream == "values" else np.uint8

    def arrays(self) -> dict[str, DTypeLike]:
        """Return the types of what is stored beside symbols, by name."""
        side: dict[str, DTypeLike] = {self.side: np.float32} if self.side else {}
        return side if self.symbols else side | {"values": self.dtype}


def _put(values: Array, mask: Mask) -> Array:
    weight = np.zeros(mask.shape, np.float32)
    weight[mask] = values
    return weight


def _encode_half(weight: Array, mask: Mask) -> tuple[NDArray[Any], None]:
    largest = float(np.abs(weight).max(initial=0))
    if largest > LARGEST_HALF:
        raise UserError(f"`values` (='fp16') must hold weights up to {largest:g}, but ends at {LARGEST_HALF:g}; use 'fp32'")
    return weight[mask].astype(np.float16), None


def _by_output(scale: Array, like: int) -> Array:
    return scale.reshape(1, -1, *[1] * (like - 2))


def _encode_int8(weight: Array, mask: Mask) -> tuple[Symbols, Array]:
    """The n components of an output element share a scale: a kernel adds products of all of them in one register."""
    others = tuple(axis for axis in range(weight.ndim) if axis != 1)
    scale = np.abs(weight).max(axis=others, initial=0).astype(np.float32) / np.float32(WEIGHT_LEVELS)
    divisor = _by_output(np.where(scale == 0, np.float32(1), scale), weight.ndim)
    codes = np.clip(np.rint(weight / divisor), -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8)
    return codes[mask].view(np.uint8), scale


def _decode_int8(values: Symbols, scale: Array | None, mask: Mask) -> Array:
    if scale is None or scale.shape != mask.shape[1:2]:
        raise DamageError(f"there must be a scale for each of {mask.shape[1]} outputs")
    weight = _put(values.view(np.int8).astype(np.float32), mask)
    weight *= _by_output(scale, mask.ndim)
    return weight


def _encode_codebook(weight: Array, mask: Mask) -> tuple[Symbols, Array]:
    """Store a codebook for the whole layer, or where that costs the outputs of small weights much, one of their shares."""
    values = weight[mask]
    book = codebook(values, CODEBOOK_SIZE)
    symbols = _nearest(values, book)
    error = _output_error(weight, _put(book[symbols], mask))
    if error > COSTLY:
        scale = _signed_scale(weight)
        shares = np.rint(np.divide(weight, _by_output(scale, weight.ndim), dtype=np.float64)[mask] * SHARE_STEPS) / SHARE_STEPS
        share_book = _share_book(shares.astype(np.float32))
        share_symbols = _nearest(shares, share_book)
        scaled = np.concatenate([share_book, scale])
        if _output_error(weight, _decode_codebook(share_symbols, scaled, mask)) < error / 2:
            return share_symbols, scaled
    return symbols, book


def _decode_codebook(values: Symbols, book: Array | None, mask: Mask) -> Array:
    outputs = mask.shape[1]
    if book is None or book.ndim != 1 or (len(book) > CODEBOOK_SIZE and len(book) != CODEBOOK_SIZE + outputs):
        raise DamageError(f"a codebook must have at most {CODEBOOK_SIZE} entries, or {CODEBOOK_SIZE} and {outputs} scales")
    entries, scale = book[:CODEBOOK_SIZE], book[CODEBOOK_SIZE:]
    if (values >= len(entries)).any():
        raise DamageError("a value is in no entry of its codebook")
    weight = _put(entries[values], mask)
    if len(scale):
        with np.errstate(over="ignore", invalid="ignore"):  # a damaged scale's weights are refused as infinite
            weight *= _by_output(scale, mask.ndim)
    return weight


def _nearest(values: NDArray[Any], book: Array) -> Symbols:
    return np.searchsorted(_middles(book), values).astype(np.uint8)


def _output_error(weight: Array, rounded: Array) -> float:
    """Return the squared error of an output's weights, by the sum of their squares, in the mean over outputs."""
    others = tuple(axis for axis in range(weight.ndim) if axis != 1)
    error, size = (np.square(numbers.astype(np.float64)).sum(axis=others) for numbers in (weight - rounded, weight))
    return float((error[size > 0] / size[size > 0]).mean()) if size.any() else 0.0


def _signed_scale(weight: Array) -> Array:
    """Return each output's weight of the largest size, so that its share is exactly 1; 1 where there is none."""
    rows = np.moveaxis(weight, 1, 0).reshape(weight.shape[1], -1)
    largest, least = rows.max(axis=1, initial=0), rows.min(axis=1, initial=0)
    scale = np.where(largest >= -least, largest, least)
    return np.where(scale == 0, np.float32(1), scale).astype(np.float32)


def _share_book(shares: Array) -> Array:
    """Return 16 entries of which 1 is one: so an output's largest weight is exact, and coding twice changes nothing."""
    book = codebook(shares[shares != 1], CODEBOOK_SIZE - 1)
    steps = np.rint(np.append(book, 1) * SHARE_STEPS) / SHARE_STEPS
    return np.pad(np.unique(steps), (0, CODEBOOK_SIZE - len(np.unique(steps))), mode="edge").astype(np.float32)


def codebook(values: Array, size: int) -> Array:
    """Return at most `size` numbers, ascending, near to which all values lie: k-means from two starts, the better one.

    Values that are at most `size` different ones are met exactly.
    """
    different = np.unique(values)
    if len(different) <= size:
        return different
    ordered = np.sort(values).astype(np.float64)
    middles = (np.arange(size) + 0.5) / size
    starts = (np.unique(np.quantile(ordered, middles)), ordered[0] + middles * (ordered[-1] - ordered[0]))
    books = [_k_means(ordered, start) for start in starts]
    return min(books, key=lambda book: _error(ordered, book)).astype(np.float32)


def _k_means(ordered: Numbers, centres: Numbers) -> Numbers:
    """Move centres to the means of the values that are nearest to them; one with no such value is left out."""
    sums = np.concatenate([[0], np.cumsum(ordered)])
    for _ in range(_ROUNDS):
        ends = np.unique([0, *np.searchsorted(ordered, _middles(centres)), len(ordered)])
        moved = np.diff(sums[ends]) / np.diff(ends)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _error(ordered: Numbers, book: Numbers) -> float:
    return float(np.square(ordered - book[np.searchsorted(_middles(book), ordered)]).sum())


def _middles(book: NDArray[Any]) -> Numbers:
    """Return the borders between numbers that are nearest to one entry and to the next."""
    wide = book.astype(np.float64)
    return (wide[1:] + wide[:-1]) / 2


VALUES: dict[str, ValueCoding] = {
    "fp32": ValueCoding(
        bits=32,
        dtype=np.float32,
        symbols=False,
        side="",
        encode=lambda weight, mask: (weight[mask], None),
        decode=lambda values, side, mask: _put(values, mask),
    ),
    "fp16": ValueCoding(
        bits=16,
        dtype=np.float16,
        symbols=False,
        side="",
        encode=_encode_half,
        decode=lambda values, side, mask: _put(values.astype(np.float32), mask),
    ),
    "int8": ValueCoding(
        bits=8,
        dtype=np.int8,
        symbols=True,
        side="scale",
        encode=_encode_int8,
        decode=_decode_int8,
    ),
    "codebook": ValueCoding(
        bits=4,
        dtype=np.uint8,
        symbols=True,
        side="codebook",
        encode=_encode_codebook,
        decode=_decode_codebook,
    ),
}
"""By the name that `pack` is given."""
