"""Large pickled batches converted once into files that are mapped into memory: opened at once, read as they are used.

Below `Imagenet64-packed/` lie `train.images` (uint8, an image after the other, planes red, green, blue), `train.labels`
(int16, little-endian, from 0), the same for `test`, and `packed.json`, which lists the shards: the part of each file that one
official batch became, with its checksum. It is written anew after each shard, so a conversion that was interrupted resumes
after the last one.
"""

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from fourfold.data.archives import unpack_archives
from fourfold.data.batches import read_batch
from fourfold.data.damage import BadFileError
from fourfold.data.datasets import DataInfo, info
from fourfold.data.digest import LABEL
from fourfold.data.folders import read_folder
from fourfold.data.official import SOURCES, OfficialFile, Source
from fourfold.data.places import absence, data_directory, find
from fourfold.data.shards import LIST, Shard, Split, files, listed, packed_folder, write_list
from fourfold.record.errors import UserError

BLOCK = 2**24
"""Bytes read at a time to be checked."""


def pack(name: str, directory: Path | None = None) -> Iterator[tuple[int, int]]:
    """Convert a data set, and yield the shards that are done and all that there are, at the start and after each.

    Raises:
        UserError: a data set that is not packed, files that are missing or damaged, a folder that cannot be written.
    """
    about, directory = info(name), data_directory(directory)
    folder = packed_folder(name, directory)
    if folder is None:
        able = ", ".join(other for other in SOURCES if packed_folder(other, directory))
        raise UserError(f"{name} is small enough to be read as it is; {able} can be packed")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            yield from _missing_shards(about, directory, folder)
    except Timeout:
        raise UserError(f"another process is packing {name} into {folder} right now") from None
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror or error}); choose another --data-dir") from error


def _missing_shards(about: DataInfo, directory: Path, folder: Path) -> Iterator[tuple[int, int]]:
    official = files(about.name)
    unpack_archives(about.name, directory)
    shards = listed(folder) if (folder / LIST).exists() else []
    if [shard.source for shard in shards] != [file.name for file in official[: len(shards)]]:
        raise BadFileError(folder / LIST, "lists other files than the official ones", "delete the folder to pack anew")
    yield len(shards), len(official)
    for file in official[len(shards) :]:
        path = find(file, directory)
        if path is None:
            raise UserError(absence(about.name, directory, file.name))
        images, labels = read_file(path, about, SOURCES[about.name])
        shards.append(_append(folder, file, shards, images, labels.astype(LABEL)))
        write_list(folder, shards)
        yield len(shards), len(official)


def read_file(path: Path, about: DataInfo, source: Source) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images and labels of one official file, or of the images that it lists."""
    return read_folder(path, about) if source.form == "folders" else read_batch(path, about, source)


def open_split(about: DataInfo, directory: Path, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images uint8 (N, C, H, W) of a packed split, mapped into memory, and its labels int64 (N,).

    Writing into the images changes this process's copy and never the file.

    Raises:
        BadFileError: a file is cut, or holds other labels than it may. Images are checked by `damaged` alone.
    """
    folder = packed_folder(about.name, directory)
    assert folder is not None
    count = sum(shard.images for shard in listed(folder) if shard.split == split)
    shape = (count, about.channels, about.size, about.size)
    images, labels = folder / f"{split}.images", folder / f"{split}.labels"
    for path, size in ((images, math.prod(shape)), (labels, count * LABEL.itemsize)):
        actual = path.stat().st_size if path.is_file() else 0
        if actual != size:
            raise BadFileError(path, f"has {actual:,} bytes", f"{size:,} is right; delete the folder to pack anew")
    values = np.fromfile(labels, LABEL).astype(np.int64)
    if count == 0 or values.min() < 0 or values.max() >= about.num_classes:
        raise BadFileError(labels, "holds labels that are no classes", f"0 to {about.num_classes - 1} is right")
    return np.memmap(images, np.uint8, "c", shape=shape), values


def damaged(about: DataInfo, directory: Path) -> Iterator[tuple[Shard, bool]]:
    """Read every shard of a packed data set, and yield it with whether its checksum is wrong."""
    folder = packed_folder(about.name, directory)
    assert folder is not None
    width = about.channels * about.size**2
    before: dict[Split, int] = {"train": 0, "test": 0}
    for shard in listed(folder):
        digest = hashlib.sha256()
        for kind, item in (("images", width), ("labels", LABEL.itemsize)):
            with (folder / f"{shard.split}.{kind}").open("rb") as stream:
                stream.seek(before[shard.split] * item)
                left = shard.images * item
                while left and (block := stream.read(min(left, BLOCK))):
                    digest.update(block)
                    left -= len(block)
        before[shard.split] += shard.images
        yield shard, digest.hexdigest() != shard.sha256


def _append(folder: Path, file: OfficialFile, before: list[Shard], images: NDArray[np.uint8], labels: NDArray[Any]) -> Shard:
    """Write a shard behind those before it; what an interrupted conversion left there is overwritten."""
    split: Split = "train" if file.role == "train" else "test"
    start = sum(shard.images for shard in before if shard.split == split)
    digest = hashlib.sha256()
    for kind, values in (("images", images), ("labels", labels)):
        path = folder / f"{split}.{kind}"
        with path.open("r+b" if path.exists() else "w+b") as stream:
            stream.truncate(start * (values.nbytes // len(values)))
            stream.seek(0, os.SEEK_END)
            _write(stream, np.ascontiguousarray(values), digest)
    return Shard(split=split, source=file.name, images=len(images), sha256=digest.hexdigest())


def _write(stream: IO[bytes], values: NDArray[Any], digest: Any) -> None:
    stream.write(values.data)
    digest.update(values.data)
    stream.flush()
    os.fsync(stream.fileno())
