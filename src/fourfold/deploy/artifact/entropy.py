"""Entropy coding of small integers: static range asymmetric numeral systems (rANS, Duda 2013), many lanes at once.

A symbol costs close to −log2 of its frequency in bits. One lane is a plain rANS coder, symbol after symbol; lanes share a
stream of words and advance together, so that numpy does in a call what Python would do symbol by symbol. All streams of a
file are coded as one, each with the table of its own symbols.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.artifact.bits import Bytes, DamageError, Symbols

Counts = NDArray[np.int64]
Table = NDArray[np.int64]
"""Frequencies of the symbols 0, 1, …, adding up to `TOTAL`."""

PRECISION = 14
TOTAL = 1 << PRECISION
_LOW = 1 << 16
"""Between symbols a lane's state is in [2^16, 2^32): a word of 16 bits is read or written where it leaves that."""
_SYMBOLS_PER_LANE = 2048
"""A lane's last state costs 4 bytes, a 64th of a bit a symbol; more lanes are faster."""
_LARGE = 64
"""Alphabets have at most so many symbols, or 256."""
_GROUP = 4
"""Symbols that share an entry in the table of such a large alphabet."""
_FROM_ENTRY = np.array([0, *(round(16 * 2 ** (entry / 16)) for entry in range(1, 256))], np.int64)
"""What an entry of a table stands for; no power is near a half, so rounding gives the same numbers on every machine."""


def encode(streams: Sequence[tuple[Symbols, Bytes]]) -> Bytes:
    """Return streams of symbols, each with its stored table, as bytes.

    They are each lane's last state (uint32, little-endian), then words (uint16) in the order in which `decode` reads them.
    Symbol i of all streams, one after another, is step i // lanes of lane i % lanes.
    """
    tables = [frequencies(stored, 256) for _, stored in streams]
    frequency = _joined([table[symbols] for table, (symbols, _) in zip(tables, streams, strict=True)])
    start = _joined([_starts(table)[symbols] for table, (symbols, _) in zip(tables, streams, strict=True)])
    lanes = _lanes(len(frequency))
    state = np.full(lanes, _LOW, np.int64)
    words: list[NDArray[np.int64]] = []
    for step in reversed(range(0, len(frequency), lanes or 1)):
        size = slice(step, step + lanes)
        x, share = state[: len(frequency[size])], frequency[size]
        full = x >= share << (32 - PRECISION)
        words.append(x[full][::-1] & 0xFFFF)
        x = np.where(full, x >> 16, x)
        state[: len(x)] = (x // share << PRECISION) + x % share + start[size]
    coded = [state.astype("<u4"), _joined(words)[::-1].astype("<u2")]
    return np.concatenate([part.view(np.uint8) for part in coded])


def decode(coded: Bytes, streams: Sequence[tuple[int, Bytes]]) -> list[Symbols]:
    """Return the streams that `encode` was given, from the number of their symbols and their stored tables.

    Raises:
        DamageError: the bytes are not those of such streams.
    """
    counts = [count for count, _ in streams]
    total = sum(counts)
    lanes = _lanes(total)
    if len(coded) < 4 * lanes or len(coded) % 2:
        raise DamageError(f"{len(coded)} bytes do not code {total} symbols")
    tables = np.array([frequencies(stored, 256) for _, stored in streams]).reshape(-1, 256)
    starts = np.array([_starts(table) for table in tables]).reshape(-1, 256)
    symbol_at = np.array([np.repeat(np.arange(256, dtype=np.uint8), table) for table in tables])
    stream_of = np.repeat(np.arange(len(counts)), counts)
    state = coded[: 4 * lanes].copy().view("<u4").astype(np.int64)
    words = coded[4 * lanes :].copy().view("<u2").astype(np.int64)
    symbols = np.empty(total, np.uint8)
    place = 0
    for step in range(0, total, lanes or 1):
        stream = stream_of[step : step + lanes]
        x = state[: len(stream)]
        slot = x & (TOTAL - 1)
        decoded = symbol_at[stream, slot]
        symbols[step : step + lanes] = decoded
        x = tables[stream, decoded] * (x >> PRECISION) + slot - starts[stream, decoded]
        low = np.flatnonzero(x < _LOW)
        if place + len(low) > len(words):
            raise DamageError(f"a coding of {total} symbols ends too early")
        x[low] = (x[low] << 16) + words[place : place + len(low)]
        place += len(low)
        state[: len(x)] = x
    if place != len(words) or (state != _LOW).any():
        raise DamageError(f"a coding of {total} symbols does not end as it should")
    return np.split(symbols, np.cumsum(counts)[:-1]) if counts else []


def stored_table(symbols: Symbols, alphabet: int) -> Bytes:
    """Return the table of symbols below `alphabet` as it is stored: the logarithms of their counts, a byte each.

    A step is a sixteenth of an octave, which costs less than a thousandth of a bit a symbol. Of 256 symbols, four
    neighbours share an entry, and the last has its own: as a gap it stands for what is beyond the others.
    """
    groups = _groups(alphabet)
    counts = np.bincount(groups[symbols], minlength=groups[-1] + 1) / np.bincount(groups)
    present = counts > 0
    octaves = np.log2(counts / max(counts.max(), 1), where=present, out=np.zeros(len(counts)))
    return np.where(present, np.clip(np.rint(255 + 16 * octaves), 1, 255), 0).astype(np.uint8)


def table_size(alphabet: int) -> int:
    """Return how many bytes the stored table of an alphabet has."""
    return int(_groups(alphabet)[-1]) + 1


def frequencies(stored: Bytes, size: int) -> Table:
    """Return the table that was stored, filled up with zeros, by integers alone: the same on every machine.

    Raises:
        DamageError: no symbol has a frequency.
    """
    alphabet = len(stored) if len(stored) <= _LARGE else (len(stored) - 1) * _GROUP
    entries = stored[_groups(alphabet)]
    table = np.zeros(size, np.int64)
    table[:alphabet] = _FROM_ENTRY[entries]
    present = np.flatnonzero(table)
    if not len(present):
        raise DamageError("a table without any frequency codes nothing")
    table[present] = 1 + table[present] * (TOTAL - len(present)) // table.sum()
    table[np.argmax(table)] += TOTAL - table.sum()  # what rounding down has left
    return table


def coded_size(symbols: Symbols, alphabet: int) -> float:
    """Return about how many bytes a stream takes, with its table."""
    if not len(symbols):
        return 0
    stored = stored_table(symbols, alphabet)
    counts = np.bincount(symbols, minlength=alphabet)
    costs = PRECISION - np.log2(np.maximum(frequencies(stored, alphabet), 1))
    return float(counts @ costs) / 8 + len(stored)


def _groups(alphabet: int) -> NDArray[np.int64]:
    """Return the entry of each symbol."""
    if alphabet <= _LARGE:
        return np.arange(alphabet)
    groups = np.arange(alphabet) // _GROUP
    groups[-1] = alphabet // _GROUP
    return groups


def _starts(table: Table) -> Table:
    return np.cumsum(table) - table


def _lanes(count: int) -> int:
    return -(-count // _SYMBOLS_PER_LANE)


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts])
