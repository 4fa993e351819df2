"""Pieces of C source: arrays of numbers, blocks of lines, and the C files of this package."""

from collections.abc import Iterable, Mapping
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.bounds import BOUNDS
from fourfold.record.errors import UserError

LARGEST_FLOAT = float(np.finfo(np.float32).max)

A_LINE = 12
"""Numbers in a line of an array."""


def indent(lines: Iterable[str], depth: int = 1) -> str:
    """Return lines of C, indented."""
    return "\n".join("    " * depth + line for line in lines)


def harmless(words: str) -> str:
    """Return words of unknown origin, such as an artifact's names, so that they can only be a part of a comment."""
    return "".join(letter if letter.isprintable() and letter not in '*/\\?@"' else "_" for letter in words)


def number(value: float) -> str:
    """Return a float32 as a C constant that gives exactly that number.

    Raises:
        UserError: it is infinite in float32, or NaN.
    """
    if not abs(value) <= LARGEST_FLOAT:
        raise UserError(f"a constant (={value:g}) of the network must be finite in float32 to be written as C")
    digits = f"{np.float32(value):.9g}"
    return f"{digits if '.' in digits or 'e' in digits else digits + '.0'}f"


def share_of(count: int) -> str:
    """Return the line that makes `first` and `last`, the share of a part in so many; an int's products might overflow."""
    if (BOUNDS["threads"].largest + 1) * count < 2**31:
        return f"const int first = part * {count} / parts, last = (part + 1) * {count} / parts;"
    return f"const int first = (int)((int64_t)part * {count} / parts), last = (int)((int64_t)(part + 1) * {count} / parts);"


def array(kind: str, name: str, values: NDArray[np.generic]) -> str:
    """Return the definition of a constant array; an empty one gets one zero, since C has no empty arrays."""
    flat, written = values.ravel(), number if kind == "float" else str
    # Line by line: as Python's objects all numbers at once would take ten times the memory.
    starts = range(0, flat.size, A_LINE)
    lines = (", ".join(map(written, flat[start : start + A_LINE].tolist())) + "," for start in starts)
    content = indent(lines) or indent(["0,"])
    return f"static const {kind} {name}[{flat.size or 1}] = {{\n{content}\n}};\n"


def template(name: str) -> str:
    """Return a C file of this package."""
    return resources.files("fourfold.deploy.backends.c").joinpath("runtime", name).read_text()


def filled(text: str, words: Mapping[str, str]) -> str:
    """Return a C file of this package with its @WORDS@ replaced."""
    for word, replacement in words.items():
        text = text.replace(f"@{word}@", replacement)
    return text
