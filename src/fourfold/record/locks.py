"""The locks of a run: one process works on it at a time, and notices when its lock is no longer the one on disk."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from fourfold.record.errors import UserError


class HeldLocks:
    """The locks of a run's folder that this process holds.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[Path, tuple[int, int]] = {}
        """Device and inode of each lock file when it was taken."""

    @contextlib.contextmanager
    def hold(self, name: str, wait_seconds: float) -> Iterator[None]:
        """Hold a lock; it dies with its process.

        Raises:
            UserError: another process holds it, or the folder cannot be written.
        """
        file = self._file(name)
        lock = FileLock(file)
        try:
            lock.acquire(timeout=wait_seconds)
            self._files[file] = _identity(file)
        except Timeout:
            raise UserError(f"another process is working on {self._path}; wait for it, or use another --out") from None
        except OSError as error:
            raise UserError(f"cannot write to {self._path} ({error.strerror}); choose another --out") from error
        try:
            yield
        finally:
            self._files.pop(file, None)
            lock.release()

    def check(self) -> None:
        """Check that the lock files on disk are those that are held: one that was removed keeps no other process out.

        Raises:
            UserError: one was removed, or another is in its place.
        """
        for file, identity in self._files.items():
            try:
                holder = "another" if _identity(file) != identity else ""
            except OSError:
                holder = "none"
            if holder:
                raise UserError(
                    f"{file}: expected the lock that this process holds, found {holder}: the run was removed, or another "
                    "process may be writing it; nothing more is written here, and the same command runs what is missing"
                )

    def is_held_elsewhere(self, name: str) -> bool:
        """Whether another process holds a lock; nothing is written to find out."""
        file = self._file(name)
        if not file.exists():
            return False
        try:
            with FileLock(file).acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    def _file(self, name: str) -> Path:
        return self._path / f".{name}.lock"


def _identity(file: Path) -> tuple[int, int]:
    about = file.stat()
    return about.st_dev, about.st_ino
