"""Writing files so that a crash leaves what was there before, or what shall be there."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def read_file(file: Path, most_bytes: int) -> bytes:
    """Return the content of a file, which is read once, and not at all where it is too long.

    Raises:
        OSError: it cannot be read, is no file, or is longer than `most_bytes`.
    """
    with open_regular(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most_bytes:
            raise OSError(f"it has {size} bytes, and at most {most_bytes} are right")
        return stream.read()


def open_regular(file: Path) -> BinaryIO:
    """Open a file for reading: every file that anybody may have put there is opened here.

    Raises:
        OSError: it cannot be opened, or is no file.
    """
    if file.exists() and not file.is_file():
        raise OSError("it is not a file")  # reading a pipe would never return
    return file.open("rb")


def append_line(file: Path, line: str) -> None:
    """Write a line behind the whole lines of a file, or none of it."""
    is_new = not file.exists()
    with file.open("ab") as stream:
        whole = file.read_bytes().rfind(b"\n") + 1
        if whole != stream.tell():
            stream.truncate(whole)
        try:
            stream.write((line + "\n").encode())
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                stream.truncate(whole)
            raise
    if is_new:
        sync_folder(file.parent)


def write_atomically(file: Path, content: bytes, *, read_back: bool = False) -> None:
    """Write a whole file or none of it.

    Args:
        file: The file.
        content: Its content.
        read_back: Whether what was written is read again before it takes the old file's place.

    Raises:
        OSError: it cannot be written, or another content was read back.
    """
    with replacing(file, content if read_back else None) as stream:
        stream.write(content)


@contextlib.contextmanager
def replacing(file: Path, expected: bytes | None = None) -> Iterator[BinaryIO]:
    """Yield a stream whose content is the file's once all of it is on disk; if anything goes wrong the file stays as it is.

    Args:
        file: The file.
        expected: What must be read back before it takes the old file's place; None reads nothing.
    """
    part = file.parent / f".{file.name}.{os.getpid()}.part"
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if expected is not None and part.read_bytes() != expected:
            raise OSError(errno.EIO, "another content was read back than was written")
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, "expected a file, found a folder", str(file))
        part.replace(file)
        sync_folder(file.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """Make a folder if it is not there, and write the name of one that is new to disk.

    Args:
        folder: The folder.
        parents: Whether to make those above it, too.

    Raises:
        OSError: it cannot be made.
    """
    missing = [folder] if not folder.is_dir() else []
    while parents and missing and not missing[-1].parent.exists():  # not by recursion: a path may have two thousand parts
        missing.append(missing[-1].parent)
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk: without it, a file whose content is there may have no name after a power loss."""
    if os.name != "posix":
        return  # other systems open no folders
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems have nothing to sync
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
