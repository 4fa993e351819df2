"""Files of lines of JSON, each of which carries its own SHA-256 and that of the line before.

So a line that was altered, taken out, doubled or moved is noticed when the file is read. Lines of the first edition carry no
digests; they are read as they are, and the chain begins with the first line that is written after them.
"""

import codecs
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self, TypeVar

from fourfold.record.errors import UserError
from fourfold.record.packing import is_packed

MEND = "remove that line and those after it, and run the same command again"
MEND_PACKED = "`fourfold check --repair` keeps the lines before it, and the same command runs the rest"

_SEAL = re.compile(r',"previous":(?:null|"([0-9a-f]{64})"),"sha256":"([0-9a-f]{64})"\}$')
_SIGNS = (',"previous":', ',"sha256":')
"""What a line with digests has at least one of, whichever of its bits is flipped."""


class Entry(Protocol):
    """What a line holds."""

    @classmethod
    def from_line(cls, line: str, source: str = ...) -> Self:
        """Read it."""


E = TypeVar("E", bound=Entry)

Misplaced = Callable[[E, list[E]], tuple[str, str] | None]
"""Called with an entry and those before it: what was expected and what was found, where it does not belong there."""


class BadLineError(UserError):
    """A line of a file that is not the one that belongs there."""

    def __init__(self, file: Path, number: int, what: str) -> None:
        super().__init__(f"{file}:{number}{what}; {MEND_PACKED if is_packed(file) else MEND}")
        self.file, self.number = file, number

    @classmethod
    def instead(cls, file: Path, number: int, expected: str, found: str) -> "BadLineError":
        """Return the error for a line in whose place another was expected."""
        return cls(file, number, f": expected {expected}, found {found}")


def sealed(line: str, before: str | None) -> str:
    """Return an object of JSON on one line with its digests.

    Args:
        line: The object, compact, with at least one field.
        before: The line before it in the file, as it stands there; None for the first.
    """
    previous = "null" if before is None else f'"{_digest(before)}"'
    open_end = f'{line.removesuffix("}")},"previous":{previous}'
    return f'{open_end},"sha256":"{_digest(open_end)}"}}'


def sealed_lines(lines: list[str]) -> list[str]:
    """Return the lines of a whole file with their digests."""
    sealed_so_far: list[str] = []
    for line in lines:
        sealed_so_far.append(sealed(line, sealed_so_far[-1] if sealed_so_far else None))
    return sealed_so_far


def whole_lines(file: Path, content: bytes) -> list[str]:
    """Return the lines of a file that end; what a crash tore off is left out.

    Raises:
        BadLineError: one is not UTF-8.
    """
    lines = []
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            raise BadLineError(file, number, f" cannot be read ({error.reason})") from error
    return lines


def read_entries(file: Path, content: bytes, kind: type[E], misplaced: "Misplaced[E]" = lambda entry, before: None) -> list[E]:
    """Return what the whole lines of a file hold.

    Args:
        file: The file.
        content: Its content.
        kind: What a line holds.
        misplaced: Called with each and those before it.

    Raises:
        BadLineError: a line is damaged, altered, doubled, missing or elsewhere.
    """
    entries: list[E] = []
    before: str | None = None
    has_sealed = False
    for number, text in enumerate(whole_lines(file, content), 1):
        seal = _SEAL.search(text)
        if seal is None and (has_sealed or any(sign in text for sign in _SIGNS)):
            raise BadLineError.instead(file, number, "a line that ends with its SHA-256", "one that does not")
        if seal and _digest(text[: text.rindex(_SIGNS[1])]) != seal[2]:
            raise BadLineError.instead(file, number, f"the line of its SHA-256 {seal[2][:8]}", "another: it was altered")
        try:
            entry = kind.from_line(text, f"{file}:{number}")
        except UserError as error:
            raise BadLineError(file, number, str(error).removeprefix(f"{file}:{number}")) from error
        if wrong := misplaced(entry, entries):
            raise BadLineError.instead(file, number, *wrong)
        if seal and seal[1] != (None if before is None else _digest(before)):
            expected = "the first line of the file" if before is None else f"the line that follows line {number - 1}"
            raise BadLineError.instead(file, number, expected, "another: lines are missing, doubled or in another order")
        entries.append(entry)
        before, has_sealed = text, has_sealed or seal is not None
    return entries


def is_torn(end: bytes) -> bool:
    """Whether the end of a file is the beginning of a line, which a crash cut off; it may end inside of a character."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(end)
    except UnicodeDecodeError:
        return False
    return '{"'.startswith(text[:2]) and not any(ord(character) < 32 for character in text)


def lines_before(content: bytes, number: int) -> bytes:
    """Return the lines of a file before one of them, counted from 1."""
    return b"".join(line + b"\n" for line in content.split(b"\n")[: number - 1])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
