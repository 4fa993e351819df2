"""A disk that fails, or a process that dies, at any of its operations: opening, reading, writing, syncing, renaming, removing.

Nothing is forked. After a death no operation is carried out any more, whatever clean-up code asks for, so that the files are
left as they are when a process is killed there.
"""

import builtins
import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

ERRORS = (errno.EIO, errno.ENOSPC, errno.ESTALE)


class DeathError(BaseException):
    """The process was killed."""


class FaultyDisk:
    """Counts the operations on files below a folder, and lets one of them fail.

    Args:
        folder: The folder.
        at: Which operation fails, from 0; None lets all succeed.
        error: The error number that it fails with; None kills the process before it.
    """

    def __init__(self, folder: Path, at: int | None = None, error: int | None = None) -> None:
        self.folder, self.at, self.error = str(folder), at, error
        self.count = 0
        self.dead = False

    def step(self, what: str, path: object) -> None:
        """Count an operation; fail if it is the one."""
        if not str(path).startswith(self.folder) or ".lock" in str(path):
            return
        if self.dead:
            raise DeathError
        self.count += 1
        if self.count - 1 == self.at:
            if self.error is None:
                self.dead = True
                raise DeathError(f"at {what} of {path}")
            raise OSError(self.error, os.strerror(self.error), str(path))

    @contextlib.contextmanager
    def working(self) -> Iterator["FaultyDisk"]:
        """Put it in the place of the system's calls."""
        import pytest

        real_open, names = io.open, {}

        def opened(file, mode="r", *given, **named):
            if not str(file).startswith(self.folder):
                return real_open(file, mode, *given, **named)
            self.step(f"opening ({mode})", file)
            if "b" not in mode:
                return real_open(file, mode, *given, **named)
            stream = real_open(file, mode, 0) if mode != "rb" else real_open(file, mode)
            names[stream.fileno()] = file
            return _Stream(stream, file, self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(io, "open", opened)
            patch.setattr(builtins, "open", opened)
            for name in ("replace", "unlink", "mkdir"):
                patch.setattr(os, name, self._stepping(name, getattr(os, name)))
            fsync = os.fsync

            def synced(descriptor: int) -> None:
                self.step("syncing", names.get(descriptor, self.folder))
                fsync(descriptor)

            patch.setattr(os, "fsync", synced)
            yield self

    def _stepping(self, name: str, call):
        def stepped(path, *given, **named):
            self.step(name, path)
            return call(path, *given, **named)

        return stepped


class _Stream:
    """A file whose operations are counted; what is written is on disk at once, one half before the other."""

    def __init__(self, stream, path: object, disk: FaultyDisk) -> None:
        self._stream, self._path, self._disk = stream, path, disk

    def write(self, content) -> int:
        half = len(content) // 2
        self._disk.step("writing", self._path)
        self._stream.write(content[:half])
        self._disk.step("writing the rest", self._path)
        self._stream.write(content[half:])
        return len(content)

    def read(self, *given) -> bytes:
        self._disk.step("reading", self._path)
        return self._stream.read(*given)

    def truncate(self, *given) -> int:
        self._disk.step("truncating", self._path)
        return self._stream.truncate(*given)

    def flush(self) -> None:
        pass

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *ending: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str):
        return getattr(self._stream, name)
