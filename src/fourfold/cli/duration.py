"""Durations as people write them."""

import re

from fourfold.record.errors import UserError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str, flag: str = "--budget") -> float:
    """Return the seconds of `90s`, `9m`, `1.5h`, `1h30m` or `2d`.

    Args:
        text: What was given.
        flag: For what.

    Raises:
        UserError: it is none of these, has no unit, or is not above 0.
    """
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text.strip()):
        raise UserError(f"`{flag}` (={text!r}) must have a unit: {text.strip()}s, {text.strip()}m or {text.strip()}h")
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise UserError(f"`{flag}` (={text!r}) must be a duration such as 90s, 9m or 1h30m")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not seconds > 0:
        raise UserError(f"`{flag}` (={text!r}) must be above 0")
    return seconds


def format_duration(seconds: float) -> str:
    """Return such as `45 s`, `12 min` or `3 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
