"""Levels as they are named on the command line."""

from fourfold.record.errors import UserError


def parse_levels(option: str, words: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the levels that were named; None for `all`.

    Raises:
        UserError: something is no level.
    """
    if words == ("all",):
        return None
    if not all(word.isdecimal() for word in words):
        raise UserError(f"`{option}` (={' '.join(words)}) must be levels such as 0 3 6, or all")
    return tuple(int(word) for word in words)
