"""Items of map-style torch datasets, read by `DataLoader`'s workers or kept in memory: the same batches either way.

Each item is read with torch's, numpy's and Python's global generators seeded by the epoch and the number of the item. So what a
dataset draws does not depend on workers, on the items before, or on which process reads the item.
"""

import hashlib
import multiprocessing
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from fourfold.data.own.values import TargetKind, as_inputs, as_targets, check_labels, in_form
from fourfold.data.stores import Batch
from fourfold.data.trees import Tree, leaves
from fourfold.record.errors import UserError
from fourfold.record.text import first_line, shortened

Collate = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class _Failure:
    """What reading an item or collating a batch ended with, on its way from a worker."""

    sentence: str


@dataclass(frozen=True)
class _Item:
    """An item with its number, which errors name."""

    number: int
    value: Any


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What targets of a dataset are, as they are checked when they are read."""

    kind: TargetKind
    num_classes: int | None
    """Where they are classes."""
    ignore: int | None = None
    """A label that is no class."""


class _Reader(Dataset[Any]):
    """A dataset by number and seed; what its items raise is returned."""

    def __init__(self, dataset: Any, name: str) -> None:
        self._dataset, self._name = dataset, name

    def __getitem__(self, place: tuple[int, int | None]) -> _Item | _Failure:
        number, seed = place
        if seed != _UNSEEDED:
            _seed_all(int.from_bytes(hashlib.sha256(f"item {seed} {number}".encode()).digest()[:4]))
        try:
            return _Item(number, _with_pixels(self._dataset[number]))
        except Exception as error:  # it is the user's code: whatever it raises becomes one sentence
            return _Failure(f"`{self._name}[{number}]` cannot be read ({_reason(error)})")


class _Collator:
    """Collates items to `(inputs, targets)` of tensors, and checks these; what is wrong is returned."""

    def __init__(self, collate: Collate | None, name: str, targets: Targets | None) -> None:
        self._collate, self._name, self._targets = collate or default_collate, name, targets

    def __call__(self, items: list[_Item | _Failure]) -> tuple[Tree, Tree] | _Failure:
        failed = next((item for item in items if isinstance(item, _Failure)), None)
        if failed is not None:
            return failed
        read = [item for item in items if isinstance(item, _Item)]
        try:
            batch = self._collate([item.value for item in read])
        except Exception as error:
            return _Failure(f"items of `{self._name}` cannot be collated ({_reason(error)}); give a `collate` that can")
        if not (isinstance(batch, tuple | list) and len(batch) == 2):
            message = f"batches of `{self._name}` must be (inputs, targets), and are a {type(batch).__name__}"
            return _Failure(f"{message}; give a `collate` that returns two")
        numbers = f"{read[0].number} … {read[-1].number}" if len(read) > 1 else str(read[0].number)
        name = f"{self._name}[{numbers}]"
        try:
            return self._checked(batch[0], batch[1], name)
        except UserError as error:
            return _Failure(str(error))

    def _checked(self, inputs: Any, targets: Any, name: str) -> tuple[Tree, Tree]:
        inputs, targets = as_inputs(inputs, f"{name}[0]"), as_targets(targets, f"{name}[1]")
        if self._targets is not None:
            targets = in_form(targets, self._targets.kind, f"{name}[1]")
            if self._targets.num_classes is not None and self._targets.kind in ("classes", "label map"):
                check_labels(targets, self._targets.num_classes, f"{name}[1]", self._targets.ignore)
        return inputs, targets


class FromDataset:
    """A store of a torch dataset's items; see `stores.Store`.

    Args:
        dataset: Map-style: `len(dataset)` and `dataset[number]`.
        collate: Makes `(inputs, targets)` of a list of items; None means torch's `default_collate`.
        workers: Processes that read ahead; 0 reads in this one.
        name: What to call it in errors, such as `train`.
        checked: What targets must be; None leaves them as they are.
    """

    targets: None = None
    """Targets are read with their inputs."""

    def __init__(self, dataset: Any, collate: Collate | None, workers: int, name: str, checked: Targets | None = None) -> None:
        self._dataset, self._collate, self._workers, self._name = dataset, collate, workers, name
        self._reader, self._collator = _Reader(dataset, name), _Collator(collate, name, checked)

    def __len__(self) -> int:
        return len(self._dataset)

    def with_targets(self, checked: Targets) -> "FromDataset":
        """Return the same items, whose targets must be what is given."""
        return FromDataset(self._dataset, self._collate, self._workers, self._name, checked)

    def read(self, batches: Sequence[Tensor], device: torch.device, seed: int | None) -> Iterator[Batch]:
        """Yield the inputs and targets of each batch; see `Store.read`.

        Raises:
            UserError: an item cannot be read, or a batch cannot be collated.
        """
        places = [[(number, seed) for number in members.tolist()] for members in batches]
        for batch in self._collated(places, device):
            if isinstance(batch, _Failure):
                raise UserError(batch.sentence)
            yield batch

    def item(self, number: int, seed: int | None = None) -> tuple[Tree, Tree]:
        """Return one item, collated by itself.

        Raises:
            UserError: it cannot be read.
        """
        with _preserved():
            batch = self._collator([self._reader[number, seed]])
        if isinstance(batch, _Failure):
            raise UserError(batch.sentence)
        return batch

    def draws(self, number: int = 0) -> bool:
        """Whether an item draws from a global generator, as a dataset that augments does.

        Raises:
            UserError: it differs although it is read twice from the same seed.
        """
        with _preserved():
            _seed_all(0)
            seeded = _fingerprint(_states())
            self._reader[number, _UNSEEDED]
            changed = _fingerprint(_states()) != seeded
        first, second = (digest_of(self.item(number, 0)) for _ in range(2))
        if first != second:
            raise UserError(
                f"`{self._name}[{number}]` differs when it is read twice from one seed; draw from the global generator of "
                "torch, numpy or random, which is seeded for each item"
            )
        return changed

    def _collated(self, places: list[list[tuple[int, int | None]]], device: torch.device) -> Iterator[Any]:
        # Processes of a pool may have no children.
        if not self._workers or len(places) < 2 or multiprocessing.current_process().daemon:
            for batch in places:
                with _preserved():
                    collated = self._collator([self._reader[place] for place in batch])
                yield collated
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*multi-threaded, use of fork.*", DeprecationWarning)
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)  # more workers than processors
            # Forked, so that datasets need not be pickled: classes of a user's file may not be importable by name.
            method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
            loader: DataLoader[Any] = DataLoader(
                self._reader,
                batch_sampler=places,  # of pairs, which the reader takes
                num_workers=min(self._workers, len(places)),
                collate_fn=self._collator,
                multiprocessing_context=method,
                pin_memory=device.type == "cuda",
                generator=torch.Generator(),  # else it draws from, and moves, torch's global generator
            )
            with _closed_input():
                passes = iter(loader)
        try:
            yield from passes
        except RuntimeError as error:
            raise UserError(
                f"a worker that reads `{self._name}` ended ({_reason(error)}); use `workers=0` to see why"
            ) from error


def digest_of(tree: Tree) -> str:
    """Return the SHA-256 of the values of a tree of tensors, with their types and shapes, hexadecimal."""
    digest = hashlib.sha256()
    for path, leaf in leaves(tree):
        digest.update(f"{path} {leaf.dtype} {tuple(leaf.shape)}\n".encode())
        digest.update(np.ascontiguousarray(leaf.numpy()).data)
    return digest.hexdigest()


_UNSEEDED = -1


@contextmanager
def _closed_input() -> Iterator[None]:
    """Hide standard input while processes are forked: a child would close it, and wait without end for a thread that reads."""
    with _forking:
        standard_input, sys.stdin = sys.stdin, None
        try:
            yield
        finally:
            sys.stdin = standard_input


_forking = threading.Lock()


@contextmanager
def _preserved() -> Iterator[None]:
    """Put the global generators back after items were read in this process."""
    before = _states()
    try:
        yield
    finally:
        _restore(before)


def _seed_all(seed: int) -> None:
    torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would also queue the seeding of GPUs, item by item
    np.random.seed(seed)
    random.seed(seed)


def _states() -> tuple[Any, ...]:
    return torch.default_generator.get_state(), np.random.get_state(), random.getstate()


def _restore(states: tuple[Any, ...]) -> None:
    torch.default_generator.set_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])


def _fingerprint(states: tuple[Any, ...]) -> str:
    return hashlib.sha256(states[0].numpy().tobytes() + repr(states[1:]).encode() + states[1][1].tobytes()).hexdigest()


def _with_pixels(item: Any) -> Any:
    """Return an item whose Pillow images, which torchvision's datasets yield without a transform, are uint8 (C, H, W)."""
    if isinstance(item, tuple | list) and len(item) == 2:
        return tuple(_pixels(part) if type(part).__module__.startswith("PIL.") else part for part in item)
    return item


def _pixels(image: Any) -> Tensor:
    array = np.array(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()


def _reason(error: BaseException) -> str:
    reason = first_line(error)
    return shortened(f"{type(error).__name__}: {reason}" if reason else type(error).__name__, 300)
