"""Writing files so that a crash leaves what was there before, or what shall be there."""

import contextlib
import os
from pathlib import Path


def append_line(file: Path, line: str) -> None:
    """Write a line behind the whole lines of a file, or none of it."""
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


def write_atomically(file: Path, content: bytes) -> None:
    """Write a whole file or none of it."""
    part = file.parent / f".{file.name}.{os.getpid()}.part"
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
