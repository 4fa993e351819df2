"""Text that may come from anywhere, made fit for a terminal: nothing in it is obeyed, and it is never without end."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and newline, those that turn the direction of text, and halves of characters."""

LONGEST = 500
"""Characters of a sentence on the terminal; of longer ones the middle is left out."""

_LONGEST_KEPT = 20_000
"""Characters of an error's sentence that are kept at all."""


def plain(text: str) -> str:
    """Return a text whose control characters are written out, such as `\\x1b`."""
    return _CONTROL.sub(lambda match: _escaped(match[0]), text)


def sentence(text: str) -> str:
    """Return a text on one line, with control characters written out; far too long a one without its middle."""
    return plain(shortened(text, _LONGEST_KEPT)).replace("\n", "\\n").replace("\t", " ")


def shortened(text: str, most: int = LONGEST) -> str:
    """Return a text of at most so many characters: of a longer one, its beginning and its end."""
    if len(text) <= most:
        return text
    begin = (most - 3) * 2 // 3
    return f"{text[:begin]} … {text[len(text) - (most - 3 - begin) :]}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says; nothing where it says nothing, or cannot even say it."""
    try:
        text = str(error)
    except Exception:  # of a class of the user's own, whose `__str__` may do anything
        return ""
    return text.strip().partition("\n")[0]


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
