"""Built-in data that are no images of classes: `Splits` read from a folder below the data directory, by name."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fourfold.data.places import data_directory
from fourfold.record.errors import unknown

if TYPE_CHECKING:
    from fourfold.data.splits import Splits

READERS: dict[str, str] = {
    "camvid": "fourfold.data.own.camvid:load_camvid",
    "voc": "fourfold.data.own.voc:load_voc",
    "bccd": "fourfold.data.own.voc:load_bccd",
    "wikitext-2": "fourfold.data.sequences.text:load_wikitext_2",
    "copy-memory": "fourfold.data.sequences._copy_memory:load_copy_memory",
    "basic-motions": "fourfold.data.sequences.sets:basic_motions",
    "japanese-vowels": "fourfold.data.sequences.sets:japanese_vowels",
    "spoken-digits": "fourfold.data.sequences.sets:spoken_digits",
}
"""The function that reads each set from the data directory, by module and name, imported when it is first asked for."""


def read_named(name: str, directory: Path | None = None) -> "Splits":
    """Return a built-in set of `READERS`.

    Args:
        name: A key of `READERS`.
        directory: The data directory; None means `$FOURFOLD_DATA`, else the cache.

    Raises:
        UserError: an unknown name, or files that are missing or damaged.
    """
    if name not in READERS:
        raise unknown("data set", name, READERS)
    module, _, function = READERS[name].partition(":")
    read = cast("Callable[[Path], Splits]", getattr(importlib.import_module(module), function))
    return read(data_directory(directory))
