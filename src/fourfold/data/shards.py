"""The list of a packed data set's shards. Imports neither numpy nor torch."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fourfold.data.damage import BadFileError
from fourfold.data.official import SOURCES, OfficialFile
from fourfold.record.errors import UserError
from fourfold.record.files import read_file

VERSION = 1
LARGEST_LIST = 2**24
"""Bytes of the list: it has some hundreds for each official file."""

LIST = "packed.json"

Split = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The part of a split that one official file is, or became when it was packed."""

    split: Split
    source: str
    """Name of the official file."""
    images: int
    sha256: str
    """Of its images' bytes and then its labels'; empty where it was not computed."""


def packed_folder(name: str, directory: Path) -> Path | None:
    """Return where a data set's packed form belongs, or None if it is too small to have one."""
    return directory / f"{SOURCES[name].files[0].folders[0]}-packed" if "imagenet" in name else None


def files(name: str) -> list[OfficialFile]:
    """Return the official files that hold images and labels, one shard each."""
    return [file for file in SOURCES[name].files if file.role != "names"]


def is_packed(name: str, directory: Path) -> bool:
    """Whether all of a data set has been packed."""
    folder = packed_folder(name, directory)
    return folder is not None and is_file(folder / LIST) and len(listed(folder)) == len(files(name))


def is_file(path: Path) -> bool:
    """Whether a path is a file.

    Raises:
        UserError: that cannot be seen, as a folder may not be read or a name is too long.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise UserError(f"cannot look for {path} ({error.strerror or error}); choose another --data-dir") from error


def listed(folder: Path) -> list[Shard]:
    """Return the shards of a packed data set, in the order of its files.

    Raises:
        BadFileError: the list is damaged or of another version.
    """
    path = folder / LIST
    try:
        content = json.loads(read_file(path, LARGEST_LIST).decode())
        if content["version"] != VERSION:
            raise BadFileError(
                path, f"is of version {content['version']!r}", f"{VERSION} is right; delete the folder to pack anew"
            )
        shards = [Shard(**shard) for shard in content["shards"]]
        if any(shard.split not in ("train", "test") or type(shard.images) is not int or shard.images < 1 for shard in shards):
            raise ValueError("a shard of no split, or without images")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, BadFileError):
            raise
        raise BadFileError(path, f"is not a list of shards ({error})", "delete the folder to pack anew") from error
    return shards


def write_list(folder: Path, shards: list[Shard]) -> None:
    """Write the list anew: the old one stays until the new one is whole."""
    path = folder / LIST
    unfinished = path.with_suffix(".json.unfinished")
    with unfinished.open("w", encoding="utf-8") as stream:
        json.dump({"version": VERSION, "shards": [asdict(shard) for shard in shards]}, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)
