"""How many images of a built-in set lie in the data directory, from headers, lists and sizes of files."""

import gzip
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from fourfold.data.damage import BadFileError
from fourfold.data.datasets import DATASETS, DataInfo
from fourfold.data.official import SOURCES, Source
from fourfold.data.places import data_directory, find, missing
from fourfold.data.shards import Split, is_packed, listed, packed_folder
from fourfold.record.errors import UserError
from fourfold.record.files import open_regular

MOST_READ = 2**28
"""Bytes of batches that are read to be counted, in a fraction of a second."""

MOST_BESIDE_PIXELS = 1.02
"""Bytes of official batches over those of their pixels; labels and names of files are the rest."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Images of a data set that lie in a directory; of large batches that are not the official ones, about so many."""

    train: int
    test: int


def counts_here(name: str, directory: Path | None = None) -> Counts | None:
    """Return how many images of a built-in set there are; None where it is not there, is no file, or cannot be counted.

    Args:
        name: A data set.
        directory: The data directory; None means `$FOURFOLD_DATA`, else the cache.
    """
    if name not in SOURCES:
        return None
    about, source, directory = DATASETS[name], SOURCES[name], data_directory(directory)
    try:
        if missing(name, directory):
            return None
        counts = Counts(train=_count(about, source, directory, "train"), test=_count(about, source, directory, "test"))
    except (OSError, EOFError, ValueError, struct.error, BadFileError, UserError):  # reading the data says what is wrong
        return None
    return counts if counts.train > 0 and counts.test > 0 else None


def _count(about: DataInfo, source: Source, directory: Path, role: Split) -> int:
    if is_packed(about.name, directory):
        folder = packed_folder(about.name, directory)
        assert folder is not None
        return sum(shard.images for shard in listed(folder) if shard.split == role)
    official = [file for file in source.files if file.role == role]
    paths = [path for file in official if (path := find(file, directory))]
    if source.form == "idx":
        return _of_header(paths[0])
    if source.form == "folders":
        return _of_folders(paths[0].parent) if role == "train" else len(paths[0].read_text(encoding="ascii").splitlines())
    return _of_batches(paths, about, source, about.train_images if role == "train" else about.test_images)


def _of_batches(paths: list[Path], about: DataInfo, source: Source, official: int) -> int:
    """Return the number of images of pickled batches: the official one where their bytes fit it; small files are read."""
    size, needed = sum(path.stat().st_size for path in paths), official * about.channels * about.size**2
    if needed <= size <= needed * MOST_BESIDE_PIXELS:
        return official
    if size <= MOST_READ:
        from fourfold.data.batches import read_batch

        return sum(len(read_batch(path, about, source)[1]) for path in paths)
    return size // (about.channels * about.size**2)


def _of_header(path: Path) -> int:
    """Return the number of images that the header of an idx file names."""
    with open_regular(path) as file:
        header = (gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file).read(8)
    return int(struct.unpack(">2I", header)[1])


def _of_folders(root: Path) -> int:
    """Return the number of images of the classes that are listed."""
    classes = (root / "wnids.txt").read_text(encoding="ascii").split()
    folders = [root / "train" / name / "images" for name in classes]
    return sum(entry.name.endswith(".JPEG") for folder in folders for entry in os.scandir(folder))
