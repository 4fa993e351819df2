"""`failed-<trial>.json`: how a trial, or a control of it, failed for good."""

import json
from collections.abc import Mapping

from fourfold.record.reading import LARGEST, parse_object

Place = Mapping[str, object]
"""Whose a failure is: its trial and control, and its run where that is known."""


def failure_line(place: Place, level: int, reason: str) -> bytes:
    """Return the content of the file."""
    return (json.dumps({**place, "level": level, "reason": reason}) + "\n").encode()


def read_failure(content: bytes, place: Place) -> str:
    """Return how a trial failed, such as `level 3: the loss became nan`.

    Args:
        content: Of the file.
        place: Whose failure it must be; one of the first edition names no run and no control.

    Raises:
        ValueError: it says no such thing, or, as a copy does, that it is another's.
        KeyError: it has no level or no reason.
    """
    value = parse_object(content.decode())
    level, reason = value["level"], value["reason"]
    if type(level) is not int or not isinstance(reason, str) or not 0 <= level < LARGEST:
        raise ValueError("no level and reason")
    for name, expected in place.items():
        if value.get(name, expected) != expected:
            raise ValueError(f"expected that of {name} {expected}, found {value[name]!s:.100}")
    return f"level {level}: {reason}"
