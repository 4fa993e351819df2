"""What a run that the disk lets down says: what is wrong with which file, and what to do about it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fourfold.parts import explained
from fourfold.record import RunStore, Spec, UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What more space mends."""

SAFE = "all rows so far are safe"


@contextmanager
def told_of(store: RunStore, spec: Spec) -> Iterator[None]:
    """Turn what the disk refuses to a run into a sentence; what it refuses to the user's code stays an error of that code."""
    try:
        yield
    except OSError as error:
        if explained(error, spec):
            raise
        raise disk_failure(store, error) from error


def disk_failure(store: RunStore, error: OSError) -> UserError:
    """Return the sentence for what the disk refuses to a run: to write its files, or to read those of others."""
    folder = store.path.absolute()
    file = Path(os.fsdecode(error.filename)).absolute() if isinstance(error.filename, str | bytes | os.PathLike) else None
    why = error.strerror or error
    if not (store.path / "spec.json").exists():
        why = "it was removed"
        return UserError(f"cannot write to {store.path} ({why}); the same command runs what is missing, from its start")
    if error.errno in FULL:
        return UserError(f"cannot write to {store.path} ({why}); {SAFE}: free some space, then run the same command")
    if file is None:
        return UserError(f"cannot write to {store.path} ({why}); {SAFE}, the same command resumes")
    if not file.is_relative_to(folder):
        return UserError(f"cannot read {file} ({why}); {SAFE}: bring it back, then run the same command")
    if obstacle := _obstacle(folder, file, error):
        kinds = ("file", "folder") if obstacle.is_dir() else ("folder", "file")
        return UserError(f"{obstacle}: expected a {kinds[0]}, found a {kinds[1]}; move it away, then run the same command")
    return UserError(f"cannot write to {file} ({why}); {SAFE}: mend that, then run the same command")


def _obstacle(folder: Path, file: Path, error: OSError) -> Path | None:
    """Return what lies where a run has a folder or a file of its own: the file itself, or one above it."""
    if error.errno == errno.EISDIR:
        return file
    above = [folder / part for part in reversed(file.relative_to(folder).parents)]
    obstacle = next((part for part in above if part.exists() and not part.is_dir()), None)
    if obstacle is None and error.errno == errno.EEXIST:  # as `mkdir` says of a file, or of a link that leads nowhere
        return file
    return obstacle
