"""The tile of pixels whose inputs are put side by side, and whose sums stay in registers while blocks are walked."""

import math
from dataclasses import dataclass

from fourfold.deploy.backends.c.int8.blocks import SIDE
from fourfold.deploy.backends.c.sparse_lists import Integers

PIXELS = 16
"""Of a vector: four bytes each."""

MOST_VECTORS = 6
"""Of a tile: four times as many sums stay in registers."""

PER_TILE = 0.3
"""What a tile costs beside its vectors, in vectors."""

LARGEST_TILE = 3 * 2**14
"""Bytes of a tile's inputs, which lie on the stack."""


@dataclass(frozen=True, kw_only=True)
class BlockTile:
    """A tile of pixels: how many vectors of sums, and the pixels of each four inputs that they read."""

    vectors: int
    rest: int
    """Vectors of the last tile, which ends where the map does."""
    start: int
    """How far the first pixel that is read lies from the tile's first, in the planes of the input."""
    pixels: int
    """That are read."""


def block_tile(span: int, where: Integers, fours: int) -> BlockTile | None:
    """Return the tile of a layer, or None where a map is too small for a vector or a tile's inputs are too many bytes.

    Args:
        span: Pixels of a map of the output, gaps included.
        where: (places,): how far the inputs of an output lie from it, in the planes of the first channel.
        fours: Of inputs.
    """
    reach = int(where.max() - where.min())
    fitting = [
        size
        for size in range(1, MOST_VECTORS + 1)
        if PIXELS * size <= span and SIDE * fours * (PIXELS * size + reach) <= LARGEST_TILE
    ]
    if not fitting:
        return None
    needed = math.ceil(span / PIXELS)
    vectors = min(fitting, key=lambda size: (needed + math.ceil(needed / size) * PER_TILE, -size))
    rest = needed % vectors or vectors
    return BlockTile(vectors=vectors, rest=rest, start=int(where.min()), pixels=PIXELS * vectors + reach)
