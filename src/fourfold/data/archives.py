"""Official archives that somebody put beside the data: their files are taken out when they are first needed.

An archive is looked for in the data directory and in the folders in which its files belong. Nothing in it is trusted: a member
is taken if its name is that of an official file, goes where that belongs, and is a plain file.
"""

import gzip
import io
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from fourfold.data.damage import BadFileError
from fourfold.data.official import SOURCES, Archive, Source
from fourfold.data.places import data_directory, find, find_archive, missing
from fourfold.record.errors import UserError
from fourfold.record.files import open_regular

_TREE = re.compile(r"wnids\.txt|val/val_annotations\.txt|val/images/\w+\.JPEG|train/n\d{8}/images/\w+\.JPEG")
"""Files of Tiny ImageNet that are read, below its own folder."""


_LARGEST_READ = 2**24
"""Bytes that the reader of a tar may ask for at a time; files are copied in smaller blocks."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A plain file in an archive."""

    name: PurePosixPath
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack_archives(name: str, directory: Path | None = None) -> list[Path]:
    """Take what a data set lacks out of its official archives, where those are here, and return the new official files.

    Raises:
        UserError: an archive is damaged, lacks a file, or there is no space for its files.
    """
    directory = data_directory(directory)
    files: list[Path] = []
    if not missing(name, directory):
        return files
    for archive in SOURCES[name].archives:
        path = find_archive(archive, SOURCES[name], directory)
        if path is not None:
            files += unpack(path, archive, SOURCES[name], directory)
    return files


def unpack(path: Path, archive: Archive, source: Source, directory: Path) -> list[Path]:
    """Take the official files that are not in the data directory out of an archive, each whole or not at all.

    Raises:
        UserError: the archive is damaged, or there is no space for its files.
    """
    try:
        with tempfile.TemporaryDirectory(dir=directory, prefix=".unpack-") as scratch, _opened(path) as members:
            chosen = [(member, place) for member in members if (place := _place(member, archive, source, directory))]
            needed, free = sum(member.size for member, _ in chosen), shutil.disk_usage(directory).free
            if needed > free:
                raise UserError(f"{path} needs {needed:,} bytes in {directory}, which has {free:,}; choose another --data-dir")
            parts = []
            for number, (member, place) in enumerate(chosen):
                part = Path(scratch) / str(number)
                stream = member.open()
                assert stream is not None
                with stream, part.open("wb") as target:
                    shutil.copyfileobj(stream, target, 2**20)
                parts.append((part, place))
            official = {directory / file.folders[0] / file.name for file in source.files}
            # What tells that a data set is there comes last, so that one that was interrupted is not taken for whole.
            for part, place in sorted(parts, key=lambda each: each[1] in official):
                place.parent.mkdir(parents=True, exist_ok=True)
                part.replace(place)
    except UserError:
        raise
    except Exception as error:  # readers of archives raise whatever a damaged header leads to
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise UserError(
                f"{path} cannot be unpacked into {directory} ({error.strerror or error}); unpack it there by hand, or choose "
                "another --data-dir"
            ) from error
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise BadFileError(path, f"is cut off or damaged ({reason})", "the official archive is right") from error
    return [place for _, place in parts if place in official]


def _place(member: Member, archive: Archive, source: Source, directory: Path) -> Path | None:
    """Return where a member belongs, or None if it is not wanted."""
    if source.form == "folders":
        folder = source.files[0].folders[0]
        below = member.name.relative_to(folder) if member.name.is_relative_to(folder) else member.name
        place = directory / folder / below
        return place if _TREE.fullmatch(str(below)) and not place.exists() else None
    for file in source.files:
        if file.role in archive.roles and member.name.name == file.name and find(file, directory) is None:
            return directory / file.folders[0] / file.name
    return None


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[Member]]:
    """Open an archive for the plain files in it, by what it is and not by its name."""
    with open_regular(path) as file:
        is_zip = zipfile.is_zipfile(file)
    if is_zip:
        with zipfile.ZipFile(path) as packed:
            yield (
                Member(name=PurePosixPath(each.filename), size=each.file_size, open=partial(packed.open, each))
                for each in packed.infolist()
                if not each.is_dir()
            )
        return
    with _unzipped(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        yield (
            Member(name=PurePosixPath(each.name), size=each.size, open=partial(tar.extractfile, each))
            for each in tar.getmembers()
            if each.isreg()
        )


class _Blocks(io.BufferedIOBase):
    """A stream of bounded reads: a header of a tar may say that its names take gigabytes.

    Args:
        stream: What is read.
    """

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def read(self, size: int | None = -1, /) -> bytes:
        """Return so many bytes; refuse far more than a tar's reader needs at a time."""
        if size is not None and size > _LARGEST_READ:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._stream.tell()

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


def _unzipped(path: Path) -> _Blocks:
    """Open a tar, gzipped or not."""
    with path.open("rb") as stream:
        is_zipped = stream.read(2) == b"\x1f\x8b"
    return _Blocks(gzip.open(path) if is_zipped else path.open("rb"))
