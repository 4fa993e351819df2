"""Which kernel computes a convolution of bytes with VNNI of 512 bits: the one that a fitted model finds fastest."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fourfold.deploy.backends.c.int8._block_tile import PIXELS, BlockTile
from fourfold.deploy.backends.c.int8.blocks import SIDE, Blocks
from fourfold.deploy.backends.c.sparse_lists import Lists

KERNELS = ("auto", "lists", "elements", "dense")
"""What a user may ask for; `auto` is the fastest of the others by the model."""

COSTS: dict[str, dict[str, float]] = {
    "lists": {"joins": 2.03, "products": 0.90, "stores": 6.5},
    "elements": {"alone": 1.04, "merged": 1.35, "lists": 6.1, "stores": 0.81, "packs": 4.4},
}
"""Nanoseconds of each kind of work, fitted to 45 layers by benchmarks/kernels.py --fit (EPYC Zen 4 at 3.7 GHz, gcc 12)."""

ONE_BY_ONE = 60
"""Times that products of single pixels take as long as those of vectors."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What computes a layer on AVX-512 with VNNI, and why."""

    layer: str
    kernel: str
    estimates: Mapping[str, float]
    """Microseconds of each kernel, by the model."""
    work: Mapping[str, Mapping[str, float]]
    """What each kernel does, by the kinds of `COSTS`."""

    @property
    def described(self) -> str:
        """Words for a comment."""
        others = ", ".join(f"{kernel} {time:.1f} us" for kernel, time in self.estimates.items())
        return f"with VNNI of 512 bits as {self.kernel} (estimated: {others})"


def choose(layer: str, kernels: str, work: Mapping[str, Mapping[str, float]]) -> Choice:
    """Return which kernel takes a layer.

    Args:
        layer: Its name.
        kernels: One of KERNELS.
        work: Of lists, of elements and of the dense layer.
    """
    costs = COSTS | {"dense": COSTS["elements"]}
    estimates = {
        kernel: sum(costs[kernel][kind] * amount for kind, amount in amounts.items()) / 1000 for kernel, amounts in work.items()
    }
    kernel = min(estimates, key=lambda kernel: estimates[kernel]) if kernels == "auto" else kernels
    return Choice(layer=layer, kernel=kernel, estimates=estimates, work=work)


def list_work(lists: Lists, vectors: int, width: int, span: int) -> dict[str, float]:
    """Return how often lists join four inputs, multiply them, and store sums: vectors of 64 pixels.

    Args:
        lists: Of a layer.
        vectors: Of a tile of theirs.
        width: Pixels of a vector; of 1, no vector is so short.
        span: Pixels of a map.
    """
    tiles = math.ceil(span / (width * vectors))
    scale = tiles * vectors * width / 64 * (ONE_BY_ONE if width == 1 else 1)
    fours = [math.ceil(count / 4) for count in lists.counts.ravel().tolist()]
    joins = products = 0.0
    for number, pattern in enumerate(lists.patterns):
        entries = sum(fours[number :: len(lists.patterns)])
        joins += entries * len(pattern.inputs)
        products += entries * len(pattern.terms)
    return {"joins": scale * joins, "products": scale * products, "stores": scale * lists.groups * lists.outputs}


def element_work(blocks: Blocks, tile: BlockTile) -> dict[str, float]:
    """Return how many blocks are added, lists begun, vectors stored and inputs put side by side."""
    return _block_work(blocks, tile, blocks.alone, blocks.merged, int((blocks.counts > 0).sum()))


def dense_work(blocks: Blocks, tile: BlockTile, places: int) -> dict[str, float]:
    """Return the same where no block is left out, of so many places of the kernel."""
    groups = len(blocks.outputs)
    return _block_work(blocks, tile, groups * len(blocks.inputs) * places, 0, groups)


def _block_work(blocks: Blocks, tile: BlockTile, alone: int, merged: int, lists: int) -> dict[str, float]:
    vectors, tiles = tile.needed, tile.tiles
    return {
        "alone": float(vectors * alone),
        "merged": float(vectors * merged),
        "lists": float(tiles * lists),
        "stores": float(vectors * SIDE * len(blocks.outputs)),
        "packs": tiles * len(blocks.inputs) * tile.pixels(tile.vectors) / PIXELS,
    }
