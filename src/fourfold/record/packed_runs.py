"""Packing and unpacking all files of lines of a run."""

import re

from fourfold.record.errors import UserError
from fourfold.record.folders import LARGEST_TEXT
from fourfold.record.inspection import inspect
from fourfold.record.packing import is_packed, pack_lines, packed_form, plain_form, unpack_lines
from fourfold.record.store import RunStore

_LINES = re.compile(r"(?:rows-\d+(?:-[a-z-]+)?|connectivity-\d+|overlaps)\.jsonl(?:\.xz)?")

Sizes = list[tuple[int, int]]
"""Of each file: bytes before and after."""


def pack_run(store: RunStore) -> Sizes:
    """Pack the files of lines of a run, all or, where one of them is not whole, none. For who holds the run's lock.

    Raises:
        UserError: a line is damaged or torn, or a file cannot be written.
    """
    plain = [
        one
        for one in inspect(store)
        if one.state != "foreign" and _LINES.fullmatch(one.file) and not is_packed(store.path / one.file)
    ]
    for one in plain:
        if one.mendable:
            raise UserError(
                f"{store.path / one.file}: expected whole lines, found that {one.what}; `fourfold check --repair {store.path}` "
                "mends it, then it can be packed"
            )
    sizes = []
    for one in plain:
        file = store.path / one.file
        try:
            sizes.append(pack_lines(file, LARGEST_TEXT))
        except OSError as error:
            raise UserError(f"{file} cannot be packed ({error.strerror or error}); it stays as it is") from error
    return sizes


def unpack_run(store: RunStore) -> Sizes:
    """Unpack the files of lines of a run. For who holds the run's lock.

    Raises:
        UserError: one is damaged, or cannot be written.
    """
    sizes = []
    for packed in sorted(file for file in store.path.iterdir() if _LINES.fullmatch(file.name) and is_packed(file)):
        file = plain_form(packed)
        try:
            size = packed.stat().st_size
            unpack_lines(file, LARGEST_TEXT)
            sizes.append((size, file.stat().st_size))
        except OSError as error:
            raise UserError(
                f"{packed_form(file)} cannot be unpacked ({error.strerror or error}); `fourfold check --repair {store.path}` "
                "moves it aside if it is damaged"
            ) from error
    return sizes
