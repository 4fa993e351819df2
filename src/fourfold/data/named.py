"""Built-in data that are no images of classes: `Splits` read from a folder below the data directory, by name."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Named:
    """What is known of a set of `READERS` without reading it."""

    title: str
    """What it holds, in a few words."""
    places: tuple[str, ...] = ()
    """What lies below the data directory where the set is there, any of them; empty where it is computed."""


NAMED: dict[str, Named] = {
    "camvid": Named(title="CamVid: road scenes with a class of every pixel", places=("CamVid/train",)),
    "voc": Named(title="Pascal VOC: photos with boxes", places=("VOCdevkit/VOC2007/ImageSets/Main/trainval.txt",)),
    "bccd": Named(title="BCCD: blood cells with boxes", places=("BCCD/Annotations",)),
    "wikitext-2": Named(title="WikiText-2: text as bytes", places=("wikitext-2/valid.txt",)),
    "copy-memory": Named(title="The copy-memory task: symbols to recall"),
    "basic-motions": Named(
        title="BasicMotions: recordings of a watch's sensors", places=("timeseries/BasicMotions", "BasicMotions")
    ),
    "japanese-vowels": Named(
        title="JapaneseVowels: recordings of speech, as coefficients", places=("timeseries/JapaneseVowels", "JapaneseVowels")
    ),
    "spoken-digits": Named(title="Free Spoken Digit Dataset: recordings of digits", places=("fsdd/recordings", "recordings")),
}
"""The sets of `READERS`, for lists."""


def where_named(name: str, directory: Path | None = None) -> str:
    """Return where a set of `READERS` is found: a path, `computed` or `not here`."""
    places = NAMED[name].places
    if not places:
        return "computed"
    paths = (data_directory(directory) / place for place in places)
    return next((str(path) for path in paths if path.exists()), "not here")


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
