"""What the parts of a program must be, beside fitting one another: names that can be shown, and ranges."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from fourfold.deploy.ir.bounds import LARGEST_RANGE, SMALLEST_RANGE
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
