"""Which folders hold a run, and where `fourfold check --repair` puts what it moves aside."""

import contextlib
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from fourfold.record.errors import UserError
from fourfold.record.files import make_folder, read_file, sync_folder
from fourfold.record.packing import decompressed, is_packed
from fourfold.record.rows import Row

ASIDE = "damaged"
"""The folder of a run into which `fourfold check --repair` moves what cannot be made again."""

FOLDERS = ("masks", "states", "weights", "examples", "checkpoints")
"""The folders of a run."""

LARGEST_TEXT = 2**28
"""Bytes of a file of JSON that is read: a row has some thousands, and a trial some hundred rows."""

_ROWS = re.compile(r"rows-\d+(-[a-z-]+)?\.jsonl(\.xz)?")
_MASK = re.compile(r"\d+-\d+(-[a-z-]+)?\.safetensors")


def name_of(path: Path) -> str:
    """Return the name of a run's folder, by which the run goes; `.` has that of the current folder."""
    return Path(os.path.normpath(path.absolute())).name  # not resolved: a link has the name that it goes by


def runs_named(path: Path) -> set[str]:
    """Return the runs that the rows of a folder name: one for each file, by its first line that can be read."""
    files = sorted(file for file in path.glob("rows-*.jsonl*") if _ROWS.fullmatch(file.name))
    return {run for file in files for run in _run_of(file)}


def holds_rows_or_masks(path: Path) -> bool:
    """Whether a folder has files of rows or masks of a run, whether or not its spec is there."""
    with contextlib.suppress(OSError):
        if any(_ROWS.fullmatch(file.name) for file in path.iterdir()):
            return True
        return any(_MASK.fullmatch(file.name) for file in (path / "masks").iterdir())
    return False


def run_folders(path: Path, unread: Callable[[Path, OSError], None], *, without_spec: bool = False) -> Iterator[Path]:
    """Yield the folders of runs at or below a path, but for what was moved aside.

    Folders that are linked are looked into as well. Each is yielded once: by its own name, if that is below the path.

    Args:
        path: The path.
        unread: Called with a folder that cannot be read, and why.
        without_spec: Whether to yield those that have lost their spec, too.
    """
    for folder, names in _folders(path, unread):
        is_run = "spec.json" in names or (without_spec and (any(map(_ROWS.fullmatch, names)) or holds_rows_or_masks(folder)))
        if is_run and not _is_aside(folder):
            yield folder


def _folders(path: Path, unread: Callable[[Path, OSError], None]) -> Iterator[tuple[Path, set[str]]]:
    """Yield each folder at or below a path, once, with the names in it; linked ones come last."""
    visited: set[tuple[int, int]] = set()
    folders, links = [path], deque[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.popleft()
        try:
            about = folder.stat()
            if (about.st_dev, about.st_ino) in visited:
                continue
            visited.add((about.st_dev, about.st_ino))
            with os.scandir(folder) as entries:
                below = [(entry.name, entry.is_symlink(), os.path.isdir(entry)) for entry in entries]  # noqa: PTH112
        except NotADirectoryError:
            continue
        except OSError as error:
            unread(folder, error)
            continue
        names = {name for name, _, _ in below}
        yield folder, names
        is_run = "spec.json" in names
        for name, is_link, is_folder in sorted(below):
            if is_folder and not (is_run and name in FOLDERS):  # which have files alone
                (links if is_link else folders).append(folder / name)


def move_aside(path: Path, name: str) -> Path:
    """Move a file or folder of a run aside, and return its new path.

    Args:
        path: The run's folder.
        name: Its path below that.

    Raises:
        UserError: it cannot be moved.
    """
    file, place = path / name, place_aside(path, name)
    try:
        try:
            file.replace(place)
        except OSError:  # on another file system, as behind a linked folder
            shutil.move(file, place)
        sync_folder(file.parent)
    except OSError as error:
        raise UserError(f"cannot move {file} to {place} ({error.strerror or error})") from error
    return place


def place_aside(path: Path, name: str) -> Path:
    """Return a path in the folder of what is damaged that is not taken.

    Raises:
        UserError: its folder cannot be made.
    """
    place, number = path / ASIDE / name, 1
    try:
        make_folder(place.parent, parents=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {place.parent} ({error.strerror})") from error
    while os.path.lexists(place):
        place = path / ASIDE / f"{name}.{number}"
        number += 1
    return place


def _is_aside(folder: Path) -> bool:
    """Whether a folder lies where `--repair` of a run around it has put it."""
    if folder.name == ASIDE:  # its run may have lost its spec and all its rows to it
        return True
    return any(
        above.name == ASIDE and (os.path.lexists(above.parent / "spec.json") or holds_rows_or_masks(above.parent))
        for above in folder.absolute().parents
    )


def _run_of(file: Path) -> Iterator[str]:
    """Yield the run that the first readable row of a file names, if there is one."""
    with contextlib.suppress(OSError):
        content = read_file(file, LARGEST_TEXT)
        for line in (decompressed(content, LARGEST_TEXT) if is_packed(file) else content).split(b"\n"):
            with contextlib.suppress(UserError, UnicodeDecodeError):
                yield Row.from_line(line.decode()).run
                return
