"""Images of a folder decoded once into a file of bytes, which is mapped into memory or read batch by batch.

Below `decoded/<name>-<settings>/` in the data directory lie `pixels` (uint8, an image after the other, planes), `sums` (int64:
the sum and the sum of squares of each channel of each image) and `contents.json`, which is written last and says what they
are of. They are made anew when a file of the folder has changed.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from fourfold.data.normalizing import byte_sums
from fourfold.data.own.class_folders import Listing
from fourfold.data.own.image_files import BadImageError, Form, decode, quiet
from fourfold.record.errors import UserError
from fourfold.record.files import write_atomically

VERSION = 1

BadImages = Literal["refuse", "skip"]

_CHUNK = 64
"""Images that a thread decodes at a time."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What decoded files hold."""

    version: int
    fingerprint: str
    """Of the listing that they were made from."""
    shape: tuple[int, ...]
    """Number, channels, height and width of the images."""
    sha256: str
    """Of the pixels."""
    bad: tuple[tuple[int, str], ...]
    """Files that could not be decoded: their numbers in the listing, and why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """Decoded images on disk."""

    pixels: Path
    contents: Contents
    sums: Tensor
    """int64 (N, 2, C)."""


def decode_listing(listing: Listing, form: Form, bad_images: BadImages, directory: Path, progress: bool | None) -> Decoded:
    """Return the decoded images of a listing, decoding them first where that was not done.

    Args:
        listing: The images.
        form: What every image becomes.
        bad_images: Whether a file that cannot be decoded is refused, or left out.
        directory: The data directory.
        progress: Whether to draw a bar; None means if standard error is a terminal.

    Raises:
        UserError: a bad file is refused, images have several sizes and none is asked for, or there is no space for them.
    """
    folder = directory / "decoded" / f"{_plain(listing.root.name)}-{_settings(listing, form)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            arrays = _read_from(folder, listing)
            if arrays is None:
                with quiet():
                    arrays = _decode_all(listing, form, bad_images, folder, progress)
    except OSError as error:
        arrays = _read_from(folder, listing)  # a data directory that may only be read
        if arrays is None:
            raise UserError(f"cannot write to {folder} ({error.strerror or error}); choose another --data-dir") from error
    if arrays.contents.bad and bad_images == "refuse":
        raise _refusal(listing, *arrays.contents.bad[0])
    return arrays


def _plain(name: str) -> str:
    """Return a name of letters, digits and dashes, which is short."""
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[:40] or "root"


def _settings(listing: Listing, form: Form) -> str:
    text = json.dumps([str(listing.root.resolve()), asdict(form)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_from(folder: Path, listing: Listing) -> Decoded | None:
    """Return the decoded images in a folder, if they are whole and of this listing."""
    try:
        fields = json.loads((folder / "contents.json").read_bytes())
        bad = tuple((int(number), str(why)) for number, why in fields.pop("bad"))
        contents = Contents(**{**fields, "shape": tuple(map(int, fields["shape"])), "bad": bad})
        count, channels, height, width = contents.shape
        sizes = {"pixels": count * channels * height * width, "sums": 16 * count * channels}
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        same = (contents.version, contents.fingerprint) == (VERSION, listing.fingerprint)
        if not (whole and same and count + len(bad) == len(listing.files)):
            return None
        sums = np.fromfile(folder / "sums", np.int64).reshape(count, 2, channels)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Decoded(pixels=folder / "pixels", contents=contents, sums=torch.from_numpy(sums))


def _decode_all(listing: Listing, form: Form, bad_images: BadImages, folder: Path, progress: bool | None) -> Decoded:
    """Decode every image and write what `_found` finds; what was there before stays until all is written."""
    digest = hashlib.sha256()
    bad: list[tuple[int, str]] = []
    shape: tuple[int, ...] | None = None
    first, number, count = "", 0, 0
    parts = {name: folder / f".{name}.{os.getpid()}.part" for name in ("pixels", "sums")}
    try:
        with (
            parts["pixels"].open("wb") as pixels,
            parts["sums"].open("wb") as sums,
            _Bar(len(listing.files), progress) as advance,
        ):
            for chunk in _chunks(listing, form):
                good: list[NDArray[np.uint8]] = []
                for image in chunk:
                    if isinstance(image, BadImageError):
                        if bad_images == "refuse":
                            raise _refusal(listing, number, str(image))
                        bad.append((number, str(image)))
                    else:
                        if shape is None:
                            shape, first = image.shape, listing.files[number]
                            _check_room(shape, len(listing.files), folder)
                        if image.shape != shape:
                            raise _sizes_differ(listing, first, shape, number, image.shape)
                        good.append(image)
                    number += 1
                if good:
                    block = np.stack(good)
                    pixels.write(block.data)
                    digest.update(block.data)
                    sums.write(byte_sums(torch.from_numpy(block).flatten(2)).numpy().data)
                    count += len(good)
                advance(len(chunk))
            for stream in (pixels, sums):
                stream.flush()
                os.fsync(stream.fileno())
        if shape is None:
            raise UserError(f"{listing.root}: expected images, found {len(bad):,} files of which none can be read")
        contents = Contents(
            version=VERSION, fingerprint=listing.fingerprint, shape=(count, *shape), sha256=digest.hexdigest(), bad=tuple(bad)
        )
        (folder / "contents.json").unlink(missing_ok=True)
        for name, part in parts.items():
            part.replace(folder / name)
        write_atomically(folder / "contents.json", json.dumps(asdict(contents)).encode())
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    arrays = _read_from(folder, listing)
    if arrays is None:
        raise OSError(errno.EIO, "another content was read back than was written")
    return arrays


def _chunks(listing: Listing, form: Form) -> Iterator[list[NDArray[np.uint8] | BadImageError]]:
    """Yield the images in order, or what is wrong with them, decoded by threads that are a few chunks ahead at most."""

    def work(names: Sequence[str]) -> list[NDArray[np.uint8] | BadImageError]:
        return [_decoded(listing.root / name, form) for name in names]

    threads = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    waiting: deque[Future[list[NDArray[np.uint8] | BadImageError]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(0, len(listing.files), _CHUNK):
                waiting.append(pool.submit(work, listing.files[start : start + _CHUNK]))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _decoded(path: Path, form: Form) -> NDArray[np.uint8] | BadImageError:
    try:
        return decode(path, form)
    except BadImageError as error:
        return BadImageError(str(error))  # without the traceback, which would keep the image


SECONDS_BETWEEN_LINES = 10


class _Bar:
    """A bar on standard error, or a line now and then where that is no terminal; entering it returns what moves it on."""

    def __init__(self, total: int, progress: bool | None) -> None:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress

        is_visible = sys.stderr.isatty() if progress is None else progress
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        self._progress = Progress(
            *columns, console=Console(stderr=True, force_terminal=progress or None), transient=True, disable=not is_visible
        )
        self._total = total
        self._says_lines = progress is None and not is_visible
        self._done, self._said_at = 0, time.monotonic()

    def __enter__(self) -> Any:
        if self._says_lines:
            return self._advance_in_lines
        self._progress.start()
        task = self._progress.add_task("decoding images", total=self._total)
        return lambda count: self._progress.advance(task, count)

    def _advance_in_lines(self, count: int) -> None:
        self._done += count
        if (now := time.monotonic()) - self._said_at >= SECONDS_BETWEEN_LINES:
            self._said_at = now
            print(f"read {self._done:,} of {self._total:,} images", file=sys.stderr, flush=True)

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


def _check_room(shape: tuple[int, ...], count: int, folder: Path) -> None:
    needed, free = count * int(np.prod(shape)), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{count:,} decoded images need {needed:,} bytes in {folder}, which has {free:,}; choose another --data-dir"
        )


def _refusal(listing: Listing, number: int, why: str) -> UserError:
    return UserError(f"{listing.root / listing.files[number]} {why}; `bad_images='skip'` leaves such files out")


def _sizes_differ(listing: Listing, first: str, shape: tuple[int, ...], number: int, other: tuple[int, ...]) -> UserError:
    sizes = (f"{size[2]}×{size[1]}" for size in (other, shape))
    own, right = sizes
    return UserError(
        f"{listing.root / listing.files[number]} is of {own} pixels, and {first} of {right}; give one `size` for all"
    )
