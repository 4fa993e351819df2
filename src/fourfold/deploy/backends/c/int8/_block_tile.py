"""The tile of pixels whose inputs are put side by side, and whose sums stay in registers while blocks are walked."""

import math
from dataclasses import dataclass

from fourfold.deploy.backends.c.int8.blocks import SIDE
from fourfold.deploy.backends.c.memory import Plane
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

    needed: int
    """Vectors of a map."""
    vectors: int
    across: int
    """Vectors of a row, where a map's rows are whole vectors; else all those of a tile, which takes a map as one long row."""
    pitch: int
    """Pixels from a row to the next."""
    span: int
    """Pixels of a map, gaps included."""
    start: int
    """How far the first pixel that is read lies from the tile's first, in the planes of the input."""
    reach: int
    """Pixels that an output reads from, first to last."""

    @property
    def tiles(self) -> int:
        """Tiles of a map."""
        return math.ceil(self.needed / self.vectors)

    @property
    def rest(self) -> int:
        """Vectors of the last tile, which ends where the map does."""
        return self.needed - (self.tiles - 1) * self.vectors

    @property
    def step(self) -> int:
        """Pixels from a tile to the next."""
        return self.pitch * self.vectors // self.across

    @property
    def last(self) -> int:
        """The first pixel of the last tile."""
        return self.span - self.covered(self.rest)

    def covered(self, vectors: int) -> int:
        """Return the pixels from the first of so many vectors to the last, gaps included."""
        return (vectors - 1) // self.across * self.pitch + ((vectors - 1) % self.across + 1) * PIXELS

    def pixels(self, vectors: int) -> int:
        """Return the pixels of each four inputs that so many vectors read."""
        return self.covered(vectors) + self.reach


def block_tile(target: Plane, where: Integers, fours: int) -> BlockTile | None:
    """Return the tile of a layer, or None where a map is too small for a vector or a tile's inputs are too many bytes.

    Args:
        target: The plane of the output.
        where: (places,): how far the inputs of an output lie from it, in the planes of the first channel.
        fours: Of inputs.
    """
    across, rest = divmod(target.width, PIXELS)
    by_row = rest == 0 and across <= MOST_VECTORS and target.pitch > target.width
    sizes = range(across, MOST_VECTORS + 1, across) if by_row else range(1, MOST_VECTORS + 1)
    tiles = [
        BlockTile(
            needed=target.height * across if by_row else math.ceil(target.span / PIXELS),
            vectors=size,
            across=across if by_row else size,
            pitch=target.pitch if by_row else PIXELS * size,
            span=target.span,
            start=int(where.min()),
            reach=int(where.max() - where.min()),
        )
        for size in sizes
    ]
    fitting = [
        tile
        for tile in tiles
        if tile.vectors <= tile.needed
        and PIXELS * tile.vectors <= target.span
        and SIDE * fours * tile.pixels(tile.vectors) <= LARGEST_TILE
    ]
    return min(fitting, key=lambda tile: (tile.needed + tile.tiles * PER_TILE, -tile.vectors), default=None)
