"""A layer of bytes as blocks of four outputs and four inputs, for dot products of four bytes that read what lies side by side.

In a quaternion layer a block is an element: one position of the kernel between an output and an input element. Of output a,
input b comes in by component a XOR b. So two elements that keep different components have no byte in common: they become one
block, whose inputs are taken from two places, byte by byte.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from fourfold.deploy.backends.c.sparse_lists import Integers
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.ir.product import Product, real_matrix

SIDE = 4
"""Channels side by side: bytes of a dot product."""

ALL = 2**SIDE - 1

SPLITS = (0, 0b0011, 0b0101, 0b1001, 0b0001, 0b0010, 0b0100, 0b1000)
"""What a block takes from its first place, bit by component; from its second all others. The first split has one place."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """A layer's blocks in the order in which its kernel walks them: by four outputs, by split, one after the other."""

    outputs: Integers
    """(groups, 4): the channels of each four outputs, -1 where there are fewer."""
    inputs: Integers
    """(fours of inputs, 4): the channels that lie side by side, -1 likewise."""
    counts: Integers
    """(groups, splits)."""
    sources: Integers
    """Of every block, its place or two: the four inputs that it reads, and the position of the kernel, (places, 2)."""
    weights: Array
    """(blocks, 4, 4): by output and input."""

    @property
    def alone(self) -> int:
        """Blocks of one place."""
        return int(self.counts[:, 0].sum())

    @property
    def merged(self) -> int:
        """Blocks of two."""
        return int(self.counts[:, 1:].sum())


def side_by_side(n: int, numbers: int) -> Integers:
    """Return the channels of an algebra's numbers in fours, (fours, 4): the components of a number lie together; -1 is none."""
    channels = np.arange(n * numbers).reshape(n, numbers).T.ravel()
    return np.concatenate([channels, np.full(-channels.size % SIDE, -1)]).reshape(-1, SIDE)


def make_blocks(product: Product, dense: bool = False) -> Blocks:
    """Return a layer's weights as blocks.

    Args:
        product: The weights, (n, out / n, in / n, *kernel), of one group.
        dense: Whether blocks without a weight are there too, and none are merged.
    """
    n, rows, numbers = product.weight.shape[:3]
    outputs, inputs = side_by_side(n, rows), side_by_side(n, numbers)
    matrix = real_matrix(product)
    padded = np.zeros((matrix.shape[0] + 1, matrix.shape[1] + 1, *matrix.shape[2:]), matrix.dtype)
    padded[:-1, :-1] = matrix  # channel -1 has no weights
    by_place = padded[outputs[:, :, None, None], inputs].reshape(len(outputs), SIDE, len(inputs), SIDE, -1)
    tiles = by_place.transpose(0, 2, 4, 1, 3)  # (fours of outputs, fours of inputs, places, 4, 4)
    support = np.zeros(tiles.shape[:3], np.int64)
    for a in range(SIDE):
        for b in range(SIDE):
            support |= (tiles[..., a, b] != 0).astype(np.int64) << (a ^ b)
    counts = np.zeros((len(outputs), len(SPLITS)), np.int64)
    sources: list[Integers] = [np.zeros((0, 2), np.int64)]
    weights: list[Array] = [np.zeros((0, SIDE, SIDE), matrix.dtype)]
    for group, kept in enumerate(support):
        places = np.argwhere(np.ones_like(kept, bool) if dense else kept)
        lists = [[(place,) for place in range(len(places))]] if dense else _merged(kept[tuple(places.T)].tolist())
        counts[group, : len(lists)] = [len(each) for each in lists]
        for blocks in (each for each in lists if each):
            chosen = np.array(blocks)
            sources.append(places[chosen.ravel()])
            weights.append(tiles[group][tuple(places[chosen].transpose(2, 0, 1))].sum(axis=1))
    return Blocks(
        outputs=outputs, inputs=inputs, counts=counts, sources=np.concatenate(sources), weights=np.concatenate(weights)
    )


def _merged(supports: list[int]) -> list[list[tuple[int, ...]]]:
    """Return for each split the blocks that have it, as one or two indices of `supports`; the fullest find partners first."""
    stock: dict[int, list[int]] = defaultdict(list)
    for index, support in enumerate(supports):
        stock[support].append(index)
    lists: list[list[tuple[int, ...]]] = [[] for _ in SPLITS]
    for support in sorted(stock, key=lambda support: (-support.bit_count(), support)):
        while stock[support]:
            first = stock[support].pop()
            partners = [other for other in stock if stock[other] and not other & support]
            if not partners:
                lists[0].append((first,))
                continue
            partner = max(partners, key=lambda other: (other.bit_count(), len(stock[other]), other))
            second = stock[partner].pop()
            split, swapped = _split(support, partner)
            lists[split].append((second, first) if swapped else (first, second))
    return [sorted(each) for each in lists]


def _split(first: int, second: int) -> tuple[int, bool]:
    """Return the split that keeps two supports apart, and whether the second of them is its first place."""
    for number, split in enumerate(SPLITS[1:], 1):
        rest = ALL & ~split
        if not (first & rest or second & split):
            return number, False
        if not (second & rest or first & split):
            return number, True
    raise AssertionError("supports that have no component in common can be kept apart")
