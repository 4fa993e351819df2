"""Where the items of a split lie: in memory, or in a file of bytes. A store reads items by their numbers, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fourfold.data.streamed import Prefetch, Rows, streams
from fourfold.data.trees import Tree, length, select

Batch = tuple[Tree, Tree | None]
"""Inputs, and targets where they are read with them."""


class Store(Protocol):
    """Items by their numbers, as they were given: neither normalised nor encoded."""

    @property
    def targets(self) -> Tree | None:
        """Targets of all items, in memory; None where they are read with their inputs."""

    def __len__(self) -> int: ...

    def read(self, batches: Sequence[Tensor], device: torch.device, seed: int | None) -> Iterator[Batch]:
        """Yield the items of each of some batches, int64 (B,) on the CPU; a batch is good until the next is asked for.

        Args:
            batches: Numbers of items.
            device: Where they are wanted.
            seed: Of what the items themselves draw, such as the crops of a torch dataset; None for the one of evaluations.
        """


class Arrays:
    """Items in memory.

    Args:
        inputs: A tree of tensors.
        targets: A tree of tensors.
    """

    def __init__(self, inputs: Tree, targets: Tree) -> None:
        self.inputs = inputs
        self._targets = targets

    @property
    def targets(self) -> Tree:
        """Targets of all items."""
        return self._targets

    def __len__(self) -> int:
        return length(self.inputs)

    def read(self, batches: Sequence[Tensor], device: torch.device, seed: int | None) -> Iterator[Batch]:
        """Yield the inputs of each batch, gathered where they lie; see `Store.read`."""
        for members in batches:
            yield select(self.inputs, members), None


class RowsOnDisk:
    """Images uint8 (N, C, H, W) in a file, which are read while the batch before is worked on.

    Args:
        path: The file.
        shape: Number, channels, height and width of its images.
        targets: A tree of tensors, in memory.
        sums: Sum and sum of squares of each channel of each image, int64 (N, 2, C), where they are known.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], targets: Tree, sums: Tensor | None = None) -> None:
        self._path, self._shape = path, shape
        self._targets = targets
        self.sums = sums

    @property
    def targets(self) -> Tree:
        """Targets of all images."""
        return self._targets

    def __len__(self) -> int:
        return self._shape[0]

    @cached_property
    def rows(self) -> Rows:
        """The file, open."""
        return Rows(self._path, self._shape)

    @cached_property
    def _mapped(self) -> np.memmap[Any, np.dtype[np.uint8]]:
        return np.memmap(self._path, np.uint8, "c", shape=self._shape)

    def streams(self, device: torch.device) -> bool:
        """Whether the images would fill the memory of a device."""
        return streams(self._mapped, None, device)

    def in_memory(self) -> Arrays:
        """Return the images mapped into memory, which processes share."""
        return Arrays(torch.from_numpy(self._mapped), self._targets)

    def read(self, batches: Sequence[Tensor], device: torch.device, seed: int | None) -> Iterator[Batch]:
        """Yield the images of each batch; see `Store.read`."""
        runs: list[list[Tensor]] = []
        for members in batches:  # one pass over the file takes batches of one size alone, the last of which may be smaller
            if runs and len(runs[-1][-1]) == len(runs[-1][0]) >= len(members):
                runs[-1].append(members)
            else:
                runs.append([members])
        for run in runs:
            if not len(run[0]):
                yield torch.empty(0, *self._shape[1:], dtype=torch.uint8, device=device), None
                continue
            for _, images in Prefetch(self.rows, torch.cat(run).numpy(), len(run[0]), device).batches():
                yield images, None


Augment = Callable[[Batch, torch.Generator], Batch]
"""A random change of a batch: `(inputs, targets)` as they were given, and what it draws from."""
