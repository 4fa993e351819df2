"""How large a network and its numbers may be: one table, for a file of a few bytes may promise anything.

Each bound is checked before anything is allocated or multiplied. docs/artifact.md prints the table.
"""

from typing import NamedTuple

from fourfold.record.errors import UserError


class Bound(NamedTuple):
    """The largest of a quantity, and what would happen beyond it."""

    largest: int
    unit: str
    why: str


BOUNDS = {
    "file": Bound(2**30, "bytes", "it is read into memory as a whole"),
    "header": Bound(2**23, "bytes", "JSON takes up to forty times its size in memory"),
    "operations": Bound(4096, "operations", "each becomes a function in C"),
    "layers": Bound(1024, "layers with weights", "each takes a C compiler up to a tenth of a second"),
    "encoding.n": Bound(256, "components", "each becomes a line in C"),
    "value": Bound(2**28, "numbers", "a gigabyte of floats, with the zeros around the map"),
    "outputs": Bound(2**20, "outputs of a layer", "each has a bias in C"),
    "weights": Bound(2**27, "weights", "half a gigabyte, pruned ones too"),
    "work": Bound(2**40, "multiply-adds for an image", "minutes of computing"),
    "arena": Bound(2**31, "bytes", "C counts in 32 bits"),
    "entries": Bound(2**22, "entries of a layer's lists", "each becomes numbers in C"),
    "threads": Bound(1024, "threads", "C counts parts of a step in 32 bits"),
}
"""By what errors call them."""

WEIGHTS_PER_BYTE = 2**12
"""A file's weights must also be at most 2^24, and this for each byte of its tensors: pruned ones take next to nothing there."""

FREE_WEIGHTS = 2**24

ENTRIES_PER_WEIGHT = 16
"""A layer may have that many entries for each kept weight beyond the bound: entries of zero bridge long ways in memory."""

LARGEST_RANGE = 1e30
"""Of a value in int8: what float32 holds, with room for factors."""

SMALLEST_RANGE = 1e-30
"""Below which a value is always zero."""

LARGEST_NUMBER = 1e9
"""Of an encoding's mean and standard deviation, where 1 is white; the latter is at least 1 / that."""

ALGEBRA_SIZES = (1, 2, 4, 8)
"""Dimensions of algebras that files hold and C has vectors for; layers of others become real ones."""


def check(name: str, value: int, where: str = "", *, free: int = 0) -> None:
    """Raise unless a quantity of the table is within its bound.

    Args:
        name: Its name in `BOUNDS`.
        value: How much of it there is.
        where: What has it, such as a layer.
        free: What does not count, as it is paid for elsewhere.

    Raises:
        UserError: it is larger.
    """
    bound = BOUNDS[name]
    if value > bound.largest + free:
        place = f"{where}: " if where else ""
        raise UserError(f"{place}`{name}` (={value}) must be at most {bound.largest + free} {bound.unit}: {bound.why}")


def check_weights(weights: int, stored_bytes: int) -> None:
    """Raise unless a file's tensors may stand for so many weights, kept and pruned.

    Raises:
        UserError: they are too many, at all or for such a small file.
    """
    check("weights", weights)
    largest = FREE_WEIGHTS + WEIGHTS_PER_BYTE * stored_bytes
    if weights > largest:
        raise UserError(f"`weights` (={weights}) must be at most {largest} in a file with {stored_bytes} bytes of tensors")
