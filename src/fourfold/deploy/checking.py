"""What the parts of a program must be, beside fitting one another: names that can be shown, tables of algebras, ranges."""

import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from fourfold.deploy.bounds import ALGEBRA_SIZES, LARGEST_NUMBER, LARGEST_RANGE, SMALLEST_RANGE
from fourfold.deploy.program import Encoding, LeftTable
from fourfold.record.errors import UserError

_UNSHOWN = ("Cc", "Cs")
"""Unicode's categories of control characters, such as a terminal's escape, and of halves of surrogate pairs."""


def check_text(what: str, words: Any, allowed: str = "") -> None:
    """Raise unless words are text that any file and any terminal can hold.

    Args:
        what: What they are.
        words: The text.
        allowed: Control characters that it may have.

    Raises:
        UserError: another type, a control character, or a surrogate, which is no character.
    """
    if not isinstance(words, str):
        raise UserError(f"`{what}` (={words!r:.60}) must be text, not {type(words).__name__}")
    if not words.isprintable() and any(unicodedata.category(letter) in _UNSHOWN for letter in set(words).difference(allowed)):
        raise UserError(f"`{what}` (={words!a:.60}) must be text without control characters and surrogates")


def check_names(operations: Iterable[str], class_names: Iterable[Any], provenance: Mapping[Any, Any]) -> None:
    """Raise unless all words of a program can be shown.

    Raises:
        UserError: one of them cannot.
    """
    for name in operations:
        check_text("name", name)
    for name in class_names:
        check_text("class_names", name)
    for name, text in provenance.items():
        check_text("provenance", name)
        check_text(f"provenance.{name}", text, allowed="\n\t")


def check_table(table: LeftTable) -> None:
    """Raise unless a table is that of an algebra: a signed permutation in each row and column, and e_0 is 1.

    Raises:
        UserError: it is another table, or has another size than 1, 2, 4 or 8.
    """
    n, size = range(len(table)), len(table)
    if size not in ALGEBRA_SIZES or any(len(row) != size for row in table):
        raise UserError(f"`table` of {size} rows must be square, of {', '.join(map(str, ALGEBRA_SIZES))} components")
    components = [[component for component, _ in row] for row in table]
    signs = {sign for row in table for _, sign in row}
    permutes = all(sorted(line) == list(n) for line in (*components, *zip(*components, strict=True)))
    one = all(table[a][0] == (a, 1) and table[a][a] == (0, 1) for a in n)
    if not (permutes and one and signs <= {1, -1}):
        raise UserError("`table` must be an algebra's: a signed permutation in each row and column, with e_0 as one")


def check_encoding(encoding: Encoding) -> None:
    """Raise unless the numbers of an encoding make finite ones of every byte.

    Raises:
        UserError: a mean or a standard deviation is not finite, or extreme.
    """
    smallest = 1 / LARGEST_NUMBER
    means = all(math.isfinite(mean) and abs(mean) <= LARGEST_NUMBER for mean in encoding.mean)
    if not means or not all(math.isfinite(std) and smallest <= std <= LARGEST_NUMBER for std in encoding.std):
        raise UserError(
            f"`encoding.mean` (={encoding.mean!r:.60}) and `encoding.std` (={encoding.std!r:.60}) must be finite, std above 0, "
            f"and neither beyond {smallest:g} and {LARGEST_NUMBER:g} in size"
        )


def check_ranges(ranges: Mapping[Any, Any], values: int) -> None:
    """Raise unless ranges are of values that there are, and each 0 or a number that int8 arithmetic can divide by.

    Raises:
        UserError: a range of no value, or out of bounds.
    """
    if not set(ranges) <= set(range(values)):
        raise UserError(f"`ranges` must be of the values 0 to {values - 1}, and there are {len(ranges)}")
    for value, largest in ranges.items():
        number = isinstance(largest, int | float) and not isinstance(largest, bool)
        if not number or not (largest == 0 or SMALLEST_RANGE <= largest <= LARGEST_RANGE):
            raise UserError(
                f"`ranges` (={largest!r:.40} for value {value}) must be 0 or from {SMALLEST_RANGE:g} to {LARGEST_RANGE:g}"
            )
