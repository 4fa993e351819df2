"""Images that stay on disk: the next batches are read from a packed file while the network works on this one.

A thread reads them straight into a few buffers that are used again and again (pinned where a GPU fetches them), and tells the
system which images come after those, so that the disk always has something to do. Order, augmentation and every bit of a batch
are those of `Resident`. Nothing is mapped, so the memory of the process does not grow with the file.
"""

import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.data.damage import BadFileError
from fourfold.data.resident import Order, Resident, crop_and_flip
from fourfold.record.spec import DataSpec

BUFFERS = 4
"""Batches that are read ahead at most, the one that is worked on included."""

ADVISED = 8
"""Batches ahead of the one that is being read that the system is asked to prefetch."""

MEMORY_USED = 0.5
"""Part of a device's memory that images may take to be kept there."""


class Rows:
    """Reads images of a packed file by their numbers.

    Args:
        path: A file of uint8 images, one after the other.
        shape: Their number, channels, height and width.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.count, *self.shape = shape
        self._path, self._size = path, int(np.prod(self.shape))
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def advise(self, members: NDArray[np.int64]) -> None:
        """Tell the system that some images will be read soon; it begins to read them and does not wait."""
        for _, first, count in _runs(members):
            os.posix_fadvise(self._file, first * self._size, count * self._size, os.POSIX_FADV_WILLNEED)

    def read(self, members: NDArray[np.int64], target: NDArray[np.uint8]) -> None:
        """Read images int64 (B,) into uint8 (B, C, H, W); neighbours in the file are read at once.

        Raises:
            BadFileError: the file ends before one of them.
        """
        view = target.reshape(-1).data
        for place, first, count in _runs(members):
            start, length = place * self._size, count * self._size
            done = 0
            while done < length:
                read = os.preadv(self._file, [view[start + done : start + length]], first * self._size + done)
                if not read:
                    raise BadFileError(self._path, "has become shorter", "delete its folder to pack it anew")
                done += read


def _runs(members: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return the stretches of numbers that follow each other: place of the first, first number, how many."""
    starts = np.flatnonzero(np.diff(members, prepend=members[:1] - 2) != 1)
    lengths = np.diff(starts, append=len(members))
    return list(zip(starts.tolist(), members[starts].tolist(), lengths.tolist(), strict=True))


class Streamed(Resident):
    """`Resident` for images that are read from disk, batch by batch; its labels alone are on the device.

    Args:
        rows: The file.
        labels: int64 (N,) on the device.
        members: int64 (N,), which of the file's images belong to this split, in the order of the labels; None means all.
        spec: encoding, crop and flip.
        mean: mean of each channel, where 1 is white.
        std: standard deviation of each channel, where 1 is white.
        n: dimension of the algebra.
        channels: channels of the batches.
    """

    def __init__(
        self,
        rows: Rows,
        labels: Tensor,
        members: Tensor | None,
        *,
        spec: DataSpec,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        n: int,
        channels: int,
    ) -> None:
        nothing = torch.empty(0, *rows.shape, dtype=torch.uint8, device=labels.device)
        super().__init__(nothing, labels, members, spec=spec, mean=mean, std=std, n=n, channels=channels)
        self._rows = rows
        self._in_order = torch.arange(rows.count) if members is None else members.cpu()

    @property
    def in_memory(self) -> bool:
        """No: batches come from disk."""
        return False

    def epoch(
        self,
        batch_size: int,
        seed: int,
        augment: bool = True,
        share: Callable[[range], slice] | None = None,
        first: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once, as `Resident.epoch` does."""
        order = self.order(seed, augment)
        wholes = _slices(len(self), batch_size)[first:]
        if not wholes:
            return
        chosen = [share(range(whole.start, whole.stop)) if share else whole for whole in wholes]
        members = torch.cat([order.members[part] for part in chosen])
        # Shares differ in the last, smaller batch alone, which may leave nothing to this process.
        gathered = self._gathered(members, chosen[0].stop - chosen[0].start)
        for whole, part in zip(wholes, chosen, strict=True):
            images = self._images if part.start == part.stop else next(gathered)[1]
            yield self._finished(images, order, part)[0], order.labels[whole]

    def batch(self, order: Order, chosen: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Return the images float32 (B, C, H, W) and labels int64 (B,) at some places of an order, read at once."""
        members = order.members[chosen]
        ((_, images),) = self._gathered(members, len(members))
        return self._finished(images, order, chosen)

    def batches(self, batch_size: int, first: int = 0, every: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once, in order and not augmented, as `Resident.batches` does."""
        chosen = _slices(len(self), batch_size)[first::every]
        if chosen:
            members = torch.cat([self._in_order[part] for part in chosen])
            for part, (_, images) in zip(chosen, self._gathered(members, batch_size), strict=True):
                yield self._encode(images), self._labels[part]

    def _finished(self, images: Tensor, order: Order, chosen: slice | Tensor) -> tuple[Tensor, Tensor]:
        if order.crops:
            images = crop_and_flip(images, self._spec.crop or 0, *(stream[chosen] for stream in order.crops))
        return self._encode(images), order.labels[chosen]

    def _gathered(self, members: Tensor, batch_size: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield places and images uint8 (B, C, H, W) on the device; an image is good until the next is asked for."""
        return Prefetch(self._rows, members.cpu().numpy(), batch_size, self.device).batches()

    def _interleaves(self) -> bool:
        return self._spec.encoding == "pixels"


def _slices(count: int, size: int) -> list[slice]:
    """Return the places of batches of a size; the last may be smaller."""
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


class Prefetch:
    """One pass over images in a given order, read by a thread that ends with it.

    Args:
        rows: The file.
        members: int64 (N,), the images in their order.
        batch_size: Images a batch.
        device: Where the batches are wanted.
    """

    def __init__(self, rows: Rows, members: NDArray[np.int64], batch_size: int, device: torch.device) -> None:
        self._rows, self._device = rows, device
        self._chunks = [slice(start, start + batch_size) for start in range(0, len(members), batch_size)]
        self._members, self._batch_size = members, min(batch_size, len(members))
        self._free: queue.SimpleQueue[tuple[Tensor, torch.cuda.Event | None]] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[Tensor | Exception] = queue.SimpleQueue()
        self._stopped = False

    def batches(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield places and images; the thread works while this generator waits."""
        thread = threading.Thread(target=self._read, daemon=True)
        pinned = self._device.type == "cuda"
        for _ in range(min(BUFFERS, len(self._chunks))):
            buffer = torch.empty(self._batch_size, *self._rows.shape, dtype=torch.uint8, pin_memory=pinned)
            self._free.put((buffer, None))
        thread.start()
        try:
            for chunk in self._chunks:
                read = self._ready.get()
                if isinstance(read, Exception):
                    raise read
                images = read[: len(self._members[chunk])]
                if pinned:
                    copied = images.to(self._device, non_blocking=True)
                    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                    event.record()
                    self._free.put((read, event))  # the thread waits for the copy before it reads into the buffer again
                    yield chunk, copied
                else:
                    yield chunk, images
                    self._free.put((read, None))
        finally:
            self._stopped = True
            self._free.put((torch.empty(0), None))  # wakes the thread if it waits
            thread.join()

    def _read(self) -> None:
        try:
            for chunk in self._chunks[:ADVISED]:
                self._rows.advise(self._members[chunk])
            for number, chunk in enumerate(self._chunks):
                buffer, event = self._free.get()
                if self._stopped:
                    return
                if event is not None:
                    event.synchronize()
                for later in self._chunks[number + ADVISED : number + ADVISED + 1]:
                    self._rows.advise(self._members[later])
                members = self._members[chunk]
                self._rows.read(members, buffer[: len(members)].numpy())
                self._ready.put(buffer)
        except Exception as error:
            self._ready.put(error)


def streams(images: NDArray[np.uint8], kept: NDArray[np.int64] | None, device: torch.device) -> bool:
    """Whether images (None: all) are read batch by batch: they lie in a packed file and would fill the device's memory."""
    if not isinstance(images, np.memmap):
        return False
    size = images.nbytes if kept is None else images[0].nbytes * len(kept)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return size > MEMORY_USED * free
    return size > MEMORY_USED * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
