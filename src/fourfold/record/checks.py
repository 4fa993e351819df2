"""What the dataclasses of a spec ask of their fields; each mistake is one sentence."""

import re
from typing import Any, get_args

from fourfold.record.errors import UserError, unknown

_LARGEST_COUNT = 10**9

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_choice(settings: Any, owner: str, name: str, choices: Any) -> None:
    """Check that a field is one of a `Literal`'s values."""
    value = getattr(settings, name)
    if value not in get_args(choices):
        raise unknown(f"{owner} {name}", value, get_args(choices))


def check_text(settings: Any, owner: str, name: str) -> None:
    """Check that a field is a string of characters that can be printed, and not empty."""
    value = getattr(settings, name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise UserError(f"`{owner}.{name}` (={value!r}) must be a name")


def check_file_name(name: str, value: str) -> None:
    """Check that a value can name a folder on every system, and stays inside the one that it is put into."""
    if not _FILE_NAME.fullmatch(value):
        raise UserError(
            f"`{name}` (={value!r}) must be at most 100 letters (of ASCII), digits, dots, hyphens and underscores, and begin "
            "with a letter or a digit: folders are named by it"
        )


def check_part(settings: Any, owner: str, name: str, kind: type) -> None:
    """Check that a field is settings of a kind."""
    value = getattr(settings, name)
    if not isinstance(value, kind):
        raise UserError(f"`{owner}.{name}` (={_printable(value)}) must be of type {kind.__name__}")


def check_flag(settings: Any, owner: str, name: str) -> None:
    """Check that a field is True or False."""
    value = getattr(settings, name)
    if not isinstance(value, bool):
        raise UserError(f"`{owner}.{name}` (={value!r}) must be True or False")


def check_number(settings: Any, owner: str, name: str, low: float, high: float, bounds: str) -> None:
    """Check a number against its bounds, written as `[)`, and store it as a float: equal specs must have equal ids."""
    value = getattr(settings, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    above = is_number and (value > low if bounds[0] == "(" else value >= low)
    below = is_number and (value < high if bounds[1] == ")" else value <= high)
    if not (above and below):
        raise UserError(f"`{owner}.{name}` (={value!r}) must lie in {bounds[0]}{low:g}, {high:g}{bounds[1]}")
    object.__setattr__(settings, name, float(value))


def check_count(settings: Any, owner: str, name: str, low: int) -> None:
    """Check that a field is an integer of at least `low`."""
    check_whole(f"{owner}.{name}", getattr(settings, name), low)


def check_whole(name: str, value: Any, low: int) -> None:
    """Check that a value is an integer of at least `low`, under the name that the sentence shall have."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UserError(f"`{name}` (={_printable(value)}) must be an integer of at least {low}")
    if value > _LARGEST_COUNT:
        raise UserError(f"`{name}` (={_printable(value)}) must be at most {_LARGEST_COUNT:,}")


def check_number_of(name: str, value: int | None, low: int, most: int) -> None:
    """Check how many of something were asked for; None leaves it open."""
    if value is not None and value < low:
        raise UserError(f"`{name}` (={_printable(value)}) must be at least {low}")
    if value is not None and value > most:
        raise UserError(f"`{name}` (={_printable(value)}) must be at most {most:,}")


def _printable(value: Any) -> str:
    """Return a value for a sentence; Python writes out no integer of thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return "a number of thousands of digits"
