"""Standard output and error, through which all text leaves: nothing that is printed can make them fail. Imports little.

Control characters are written out, and where a stream cannot show a character, it shows the nearest one that it can.
"""

import codecs
import contextlib
import sys
import unicodedata
from typing import TextIO

from fourfold.record.text import plain

_NEAREST = {"→": "->", "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "±": "+-", "·": "*", "≤": "<=", "≥": ">=", "µ": "u"}
_NEAREST |= {"“": '"', "”": '"', "‘": "'", "’": "'", "²": "2", "³": "3", "─": "-", "━": "-", "│": "|"}


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """Replace what a stream cannot show: the error handler of all streams."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = []
    for character in error.object[error.start : error.end]:
        nearest = _NEAREST.get(character) or unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        found.append(nearest or character.encode("ascii", "backslashreplace").decode())
    return "".join(found), error.end


codecs.register_error("fourfold-nearest", _nearest)


def prepare_streams() -> None:
    """Make standard output and error show what they can of any text, whatever their encoding is."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a caller put another object in its place
            with contextlib.suppress(ValueError, OSError):  # a stream that is closed
                stream.reconfigure(errors="fourfold-nearest")


def say(text: str, stream: TextIO | None = None) -> None:
    """Print lines of text."""
    print(plain(text), file=stream)
