"""Standard output and error, through which all text leaves: nothing that is printed can make them fail. Imports little.

Control characters are written out, and where a stream cannot show a character, it shows the nearest one that it can.
"""

import codecs
import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import TextIO

from fourfold.record.text import plain

_NEAREST = {"→": "->", "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "±": "+-", "·": "*", "≤": "<=", "≥": ">=", "µ": "u"}
_NEAREST |= {"“": '"', "”": '"', "‘": "'", "’": "'", "²": "2", "³": "3", "─": "-", "━": "-", "│": "|"}


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """Replace what a stream cannot show: the error handler of all streams."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replacements = []
    for character in error.object[error.start : error.end]:
        nearest = _NEAREST.get(character) or unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        replacements.append(nearest or character.encode("ascii", "backslashreplace").decode())
    return "".join(replacements), error.end


codecs.register_error("fourfold-nearest", _nearest)


def prepare_streams() -> None:
    """Make standard output and error show what they can of any text, whatever their encoding is; if closed, nothing."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed by the caller, as by `>&-`
            _open_onto_nothing(number)
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if number else "r", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a caller put another object in its place
            with contextlib.suppress(ValueError, OSError):  # a stream that is closed
                stream.reconfigure(errors="fourfold-nearest")


def _open_onto_nothing(number: int) -> None:
    """Let a closed descriptor lead nowhere: a file of a run that took its number would take what libraries print."""
    try:
        os.fstat(number)
    except OSError:
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != number:
            os.dup2(nothing, number)
            os.close(nothing)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print lines of text."""
    clear_passing()
    print(plain(text), file=stream)


_is_passing = False
"""Whether the terminal's last line is text that the next is to take the place of."""


def show_passing(text: str) -> None:
    """Show on a terminal what is done, until something else is printed."""
    global _is_passing
    if sys.stdout.isatty():
        _is_passing = True
        sys.stdout.write(f"\r{text}\x1b[K\r")
        sys.stdout.flush()


def clear_passing() -> None:
    """Remove what `show_passing` shows."""
    global _is_passing
    if _is_passing:
        _is_passing = False
        sys.stdout.write("\x1b[K")
        sys.stdout.flush()


@contextlib.contextmanager
def passing(text: str) -> Iterator[None]:
    """Show on a terminal what is done while a block runs."""
    show_passing(text)
    try:
        yield
    finally:
        clear_passing()
