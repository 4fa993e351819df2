"""A folder of class folders, listed: which images there are, of which class, in which part."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.data.own.parts import Role
from fourfold.record.errors import UserError
from fourfold.record.text import shortened

PARTS: dict[str, Role] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Folders that are parts, by their names in small letters."""

_IGNORED = frozenset({"__MACOSX"})
"""Folders that archives leave behind."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """The images of a folder."""

    root: Path
    classes: tuple[str, ...]
    """Names of the class folders of the training part, sorted as Python sorts text."""
    files: tuple[str, ...]
    """Below the root: part after part, class after class, sorted by path."""
    labels: NDArray[np.int64]
    """The class of each."""
    roles: dict[Role, slice]
    """Which of the files each part has."""
    fingerprint: str
    """SHA-256 of names, sizes and times of the files; another one means that they are decoded anew."""
    ignored: int
    """Files with the ending of an image that are in no class folder."""


def listed(root: Path, suffixes: frozenset[str]) -> Listing:
    """List the images of a folder of class folders, which may lie in `train`, `val` or `validation`, and `test`.

    Images may lie deeper below their class folder. Names that begin with a dot, and files without the ending of an image,
    are left out; links to folders are followed once.

    Raises:
        UserError: no folder, no class folders, only one class, a class without training images, or a class that is not in the
            training part.
    """
    parts = _parts(root, suffixes)
    classes = tuple(sorted(folder.name for folder in _folders(parts["train"])))
    if not classes:
        count = sum(1 for _ in _images(root, suffixes))
        content = f"found {count:,} images and no folders" if count else "found neither folders nor images"
        raise UserError(f"{parts['train']}: expected a folder of images for each class, {content}")
    if len(classes) == 1:
        raise UserError(f"{parts['train']}: expected at least 2 class folders, found {classes[0]!r} alone")
    digest = hashlib.sha256()
    files: list[str] = []
    labels: list[int] = []
    roles: dict[Role, slice] = {}
    for role, part in parts.items():
        start = len(files)
        for folder in sorted(_folders(part), key=lambda folder: folder.name):
            if folder.name not in classes:
                known = shortened(", ".join(classes), 200)
                raise UserError(f"{folder}: expected one of the classes of the training part ({known}), found another one")
            before = len(files)
            for path, size, changed in sorted(_below(folder, suffixes)):
                files.append(str(path.relative_to(root)))
                digest.update(f"{files[-1]}\0{size}\0{changed}\n".encode(errors="surrogateescape"))
            if role == "train" and len(files) == before:
                raise UserError(f"{folder}: expected images, found none; add some, or delete the folder")
            labels += [classes.index(folder.name)] * (len(files) - before)
        if len(files) == start:
            raise UserError(f"{part}: expected a folder of images for each class, found no images")
        roles[role] = slice(start, len(files))
    outside = {root, *parts.values()}
    return Listing(
        root=root,
        classes=classes,
        files=tuple(files),
        labels=np.array(labels, dtype=np.int64),
        roles=roles,
        fingerprint=digest.hexdigest(),
        ignored=sum(1 for folder in outside for _ in _images(folder, suffixes)),
    )


def _parts(root: Path, suffixes: frozenset[str]) -> dict[Role, Path]:
    """Return the folder of each part, or the root where it has class folders; others without images are ignored."""
    parts: dict[Role, Path] = {}
    others: list[str] = []
    for folder in _folders(root):
        role = PARTS.get(folder.name.lower())
        if role is None or not _folders(folder):  # a class may be called `train`, and has images
            others.append(folder.name)
        elif role in parts:
            raise UserError(f"{root}: expected one folder of the {role} part, found {parts[role].name} and {folder.name}")
        else:
            parts[role] = folder
    if not parts:
        return {"train": root}
    if "train" not in parts:
        raise UserError(f"{root}: expected a folder train beside {next(iter(parts.values())).name}, found none")
    classes = [name for name in others if next(_below(root / name, suffixes), None)]
    if classes:
        raise UserError(
            f"{root}: expected class folders, or the parts train, validation and test, found both {parts['train'].name} "
            f"and {classes[0]}"
        )
    if "validation" in parts and "test" not in parts:  # as ImageNet has it: what is called validation is what one tests on
        parts["test"] = parts.pop("validation")
    order: tuple[Role, ...] = ("train", "validation", "test")
    return {role: parts[role] for role in order if role in parts}


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: expected a folder, found none that can be read ({error.strerror or error})") from error


def _folders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if _is_folder(entry) and entry.name not in _IGNORED]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _images(folder: Path, suffixes: frozenset[str]) -> Iterator[os.DirEntry[str]]:
    """Yield what lies in a folder with the ending of an image and is no folder, be it a file or not."""
    for entry in _entries(folder):
        if os.path.splitext(entry.name)[1].lower() in suffixes and not _is_folder(entry):  # noqa: PTH122 - a name of 100,000
            yield entry


def _below(folder: Path, suffixes: frozenset[str]) -> Iterator[tuple[Path, int, int]]:
    """Yield every image below a folder with its size and time; a folder that links lead to again is not entered again."""
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        place = current.stat()
        if (place.st_dev, place.st_ino) in entered:
            continue
        entered.add((place.st_dev, place.st_ino))
        for entry in _entries(current):
            if _is_folder(entry):
                waiting.append(Path(entry.path))
            elif os.path.splitext(entry.name)[1].lower() in suffixes:  # noqa: PTH122
                yield Path(entry.path), *_state(entry)


def _state(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Return size and time of a file; zeros for a link to nothing, which decoding names."""
    try:
        status = entry.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
