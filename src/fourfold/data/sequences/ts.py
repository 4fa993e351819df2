"""`.ts` files, the format of the UEA and UCR archives of time series (Bagnall et al. 2018)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.record.errors import UserError
from fourfold.record.files import read_file

_LARGEST_FILE = 2**30
"""Bytes; the largest file of the archives has less."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """The series of a file, in its order."""

    values: tuple[NDArray[np.float32], ...]
    """Each (steps, dimensions); NaN where the file has `?`."""
    labels: tuple[str, ...]
    """The class of each."""
    classes: tuple[str, ...]
    """The classes in the order of the file's `@classLabel`."""
    lines: tuple[int, ...]
    """The line of each, from 1."""


def read_ts(path: Path | str) -> Series:
    """Return the series of a `.ts` file.

    A line is one series: its dimensions and its class between colons, the steps of a dimension between commas. Steps that are
    missing (`?` or `NaN`) are NaN, as in the field's own reader.

    Raises:
        UserError: a file that is missing or no `.ts` file; time stamps; a value to predict instead of a class; a series whose
            dimensions have unequal lengths or another number than those before; a value that is no float. Each names the file
            and the line.
    """
    path = Path(path).expanduser()
    try:
        lines = read_file(path, _LARGEST_FILE).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or error
        raise UserError(f"{path}: expected a .ts file that can be read, found {reason}") from error
    classes, first = _header(lines, path)
    values: list[NDArray[np.float32]] = []
    labels, places = [], []
    for number, line in enumerate(lines[first:], first + 1):
        if not line.strip() or line.lstrip().startswith(("#", "%")):
            continue
        *dimensions, label = (part.strip() for part in line.split(":"))
        if label not in classes:
            raise UserError(f"{path}, line {number}: expected one of the classes {', '.join(classes)}, found {label[:40]!r}")
        values.append(_series(dimensions, path, number))
        if values[-1].shape[1] != values[0].shape[1]:
            counts = f"expected {values[0].shape[1]} dimensions as in the series before, found {values[-1].shape[1]}"
            raise UserError(f"{path}, line {number}: {counts}")
        labels.append(label)
        places.append(number)
    if not values:
        raise UserError(f"{path}: expected at least one series after @data, found none")
    return Series(values=tuple(values), labels=tuple(labels), classes=classes, lines=tuple(places))


def _header(lines: list[str], path: Path) -> tuple[tuple[str, ...], int]:
    """Return the classes, and the index of the line after `@data`."""
    classes: tuple[str, ...] = ()
    for index, line in enumerate(lines):
        words = line.split()
        tag = words[0].lower() if words else ""
        value = words[1].lower() if len(words) > 1 else ""
        where = f"{path}, line {index + 1}"
        if tag == "@timestamps" and value == "true":
            raise UserError(f"{where}: expected `@timeStamps false`, found true; series with time stamps cannot be read")
        if tag == "@targetlabel" and value == "true":
            raise UserError(f"{where}: expected `@classLabel true` and the classes, found a value to predict (`@targetLabel`)")
        if tag == "@classlabel":
            classes = tuple(words[2:]) if value == "true" else ()
        if tag == "@data":
            if not classes:
                raise UserError(f"{where}: expected `@classLabel true` and the classes before @data, found none")
            return classes, index + 1
        if tag and not tag.startswith(("@", "#", "%")):
            raise UserError(f"{where}: expected a line that begins with @ or # before @data, found {line[:40]!r}")
    raise UserError(f"{path}: expected a line @data, found none")


def _series(dimensions: list[str], path: Path, number: int) -> NDArray[np.float32]:
    """Return one series (steps, dimensions)."""
    if not dimensions:
        raise UserError(f"{path}, line {number}: expected dimensions and a class between colons, found no colon")
    columns = []
    for place, text in enumerate(dimensions, 1):
        words = [word.strip() for word in text.split(",")]
        try:
            with np.errstate(over="ignore"):
                column = np.array([np.nan if word == "?" else float(word) for word in words]).astype(np.float32)
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: expected numbers between commas in dimension {place}, found {text[:40]!r}"
            ) from error
        if np.isinf(column).any():
            raise UserError(f"{path}, line {number}: expected finite float32 in dimension {place}, found an infinity")
        columns.append(column)
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise UserError(f"{path}, line {number}: expected dimensions of equal length, found {lengths} steps")
    return np.stack(columns, axis=1)
