"""`from_datasets`: data of one's own as map-style torch datasets."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from fourfold.data.components import Components, check_components
from fourfold.data.normalizing import Normalization
from fourfold.data.own.arrays import Channels, class_names, num_outputs
from fourfold.data.own.loading import Collate, FromDataset, Targets, digest_of
from fourfold.data.own.parts import Part, Role, held_out
from fourfold.data.own.source import Source
from fourfold.data.own.values import IGNORED, TargetKind, in_form, kind_of, named_classes
from fourfold.data.splits import Splits
from fourfold.data.stores import Arrays, Augment
from fourfold.data.trees import Tree, item_shape, joined, num_bytes
from fourfold.record.errors import UserError
from fourfold.record.spec import DataSpec
from fourfold.record.text import first_line

RESIDENT_BYTES = 2**29
"""Of inputs and targets of all items: what is larger is read batch by batch."""

WORKERS = 2
"""Processes that read ahead, where nothing else is asked for."""

SAMPLED = 256
"""Items of each part that its digest is of."""

_CPU = torch.device("cpu")

_READ = 256
"""Items that are read at a time where all are wanted."""

_EXAMINED = 16
"""First items that are looked at to tell what the targets are."""


def from_datasets(
    train: Any,
    test: Any = 0.2,
    validation: Any = None,
    *,
    collate: Collate | None = None,
    workers: int = WORKERS,
    name: str = "datasets",
    classes: Sequence[str] | int | None = None,
    targets: TargetKind | None = None,
    ignore: int | None = None,
    channels: Channels | None = None,
    normalization: Normalization = "none",
    components: Components = "zero",
    augment: Augment | None = None,
    resident: bool | None = None,
) -> Splits:
    """Return data of one's own from map-style torch datasets, for a real network on the CPU.

    Items are read in an order that is seeded, each with the global generators of torch, numpy and random seeded by the epoch
    and the number of the item; so batches depend neither on `workers` nor on whether items are kept in memory. Inputs have
    their channels first, as torchvision's do; Pillow images become bytes (C, H, W).

    Args:
        train: `len(train)` items `train[number]`, of which `collate` makes `(inputs, targets)`: tensors, or dicts or tuples of
            tensors.
        test: The same; or how many training items to hold out, or which part of them, each with the same chance: the classes
            are not looked at, since labels may not be in memory.
        validation: The same; None means no validation part.
        collate: Function of a list of items; None means `torch.utils.data.default_collate`.
        workers: Processes that read items ahead, where they are not kept in memory; 0 reads them in this process.
        name: What to call the data.
        classes: Names of the classes by label, or their number; None takes `train.classes` if there is one, and counts labels
            that are in memory.
        targets: What the targets are, see `TargetKind`; None tells by type and shape, as `from_arrays` does.
        ignore: A label of label maps that is no class, such as 255; None means -100.
        channels: Inputs (N, T, F) have their features last; "first" takes them as (N, C, L).
        normalization: none, which leaves it to the datasets, whose bytes are divided by 255; training, imagenet, or means and
            deviations: see `from_arrays`.
        components: How inputs become elements of n components: see `from_arrays`.
        augment: Function of a batch `(inputs, targets)`, as they were collated, and a `torch.Generator`, that returns the batch
            to train on. It is called for each batch of training, in this process.
        resident: Whether all items are read once and kept in memory; None does so up to 512 MiB. Datasets whose items draw from
            a generator, and batches of a `collate` of one's own, are always read again.

    Raises:
        UserError: a dataset that is not map-style, items that cannot be read or collated, or targets that do not fit.
    """
    check_components(components)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise UserError(f"`workers` (={workers!r}) must be a number of processes, 0 or more")
    by_role: dict[Role, Any] = {"train": train, "validation": validation, "test": test}
    stores: dict[Role, FromDataset] = {}
    for role, dataset in by_role.items():
        if role == "train" or not (dataset is None or isinstance(dataset, int | float | np.number)):
            _check_dataset(dataset, role)
            stores[role] = FromDataset(dataset, collate, workers, role)
    if test is None:
        raise UserError("`test` (=None) must be a dataset, or a part of the training items, such as 0.2")
    about = _examined(stores["train"], targets, channels)
    keep = collate is None and resident is not False and not any(store.draws() for store in stores.values())
    keep = keep and (bool(resident) or sum(map(len, stores.values())) * about.bytes <= RESIDENT_BYTES)
    kept = {role: _read_all(store, role, about.kind) for role, store in stores.items()} if keep else {}
    names = _names(train, classes, about, {role: tree[1] for role, tree in kept.items()}, ignore)
    checked = Targets(kind=about.kind, num_classes=len(names) or None, ignore=IGNORED if ignore is None else ignore)
    read = {role: store.with_targets(checked) for role, store in stores.items()}
    parts: dict[Role, Part] = {role: Part(store=Arrays(*kept[role]) if keep else read[role]) for role in read}
    for role in ("test", "validation"):
        if role not in parts and by_role[role] is not None:
            parts["train"], parts[role] = held_out(parts["train"], by_role[role], role, by_class=False)
    source = Source(
        name=name,
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts["test"],
        kind=about.kind,
        classes=names,
        outputs=num_outputs(about.kind, names, about.targets),
        shape=item_shape(about.inputs),
        axis=about.axis,
        normalization=normalization,
        components=components if about.axis is not None or callable(components) else "none",
        augment=augment,
        find_digest=lambda: _digest(parts, read),
        void=IGNORED if ignore is None else ignore,
    )
    return source.splits(DataSpec(name=name), 1, _CPU)


@dataclass(frozen=True, kw_only=True)
class _Examined:
    """What the first items of a dataset say about all."""

    inputs: Tree
    targets: Tree
    """Of one item."""
    kind: TargetKind
    axis: int | None
    bytes: int
    """Of an item."""


def _examined(store: FromDataset, kind: TargetKind | None, channels: Channels | None) -> _Examined:
    """Return what the first items say.

    Raises:
        UserError: they cannot be read, or their targets are of another kind.
    """
    items = [store.item(number) for number in range(min(_EXAMINED, len(store)))]
    inputs, targets = items[0]
    if kind is None:
        kinds = {kind_of(target) for _, target in items}
        kind = kinds.pop() if len(kinds) == 1 else "label map" if kinds == {"multi-hot", "label map"} else "other"
    axis = None
    if isinstance(inputs, Tensor) and inputs.dtype != torch.int64 and inputs.dim() > 1:
        axis = 2 if inputs.dim() == 3 and channels != "first" else 1
    return _Examined(
        inputs=inputs,
        targets=in_form(targets, kind, "train[0][1]"),
        kind=kind,
        axis=axis,
        bytes=num_bytes(inputs) + num_bytes(targets),
    )


def _check_dataset(dataset: Any, role: Role) -> None:
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise UserError(f"`{role}` (a {type(dataset).__name__}) must be a map-style dataset, with `__len__` and `__getitem__`")
    try:
        count = len(dataset)
    except Exception as error:
        raise UserError(
            f"`{role}` (a {type(dataset).__name__}) must have a length ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not count:
        raise UserError(f"`{role}` (a {type(dataset).__name__}) must have at least one item")


def _read_all(store: FromDataset, role: Role, kind: TargetKind) -> tuple[Tree, Tree]:
    """Return all inputs and targets of a dataset."""
    batches = list(store.read(torch.split(torch.arange(len(store)), _READ), _CPU, None))
    try:
        inputs, targets = (joined([batch[number] for batch in batches]) for number in range(2))
    except (RuntimeError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"items of `{role}` must have equal shapes; give a `collate` that pads them") from error
    return inputs, in_form(targets, kind, f"{role}[1]")


def _names(train: Any, classes: Any, about: _Examined, kept: dict[Role, Tree], ignore: int | None) -> tuple[str, ...]:
    """Return the names of the classes; none where targets are no classes.

    Raises:
        UserError: their number is not known, or labels are not among them.
    """
    known = getattr(train, "classes", None)
    if classes is None and isinstance(known, list | tuple) and all(isinstance(label, str) for label in known):
        classes = known
    if about.kind in ("classes", "label map") and not kept:
        if classes is None:
            raise UserError("`classes` (=None) must be the names of the classes, or their number: labels are not in memory")
        return named_classes(classes, 0, about.kind)
    return class_names(kept or {"train": about.targets}, classes, about.kind, ignore)


def _digest(parts: dict[Role, Part], stores: dict[Role, FromDataset]) -> str:
    """Return the SHA-256 of the number of items and of an evenly spaced choice of each part, however they are kept."""
    digest = hashlib.sha256()
    order: tuple[Role, ...] = ("train", "validation", "test")
    for role in (role for role in order if role in parts):
        numbers = parts[role].numbers()
        chosen = torch.linspace(0, len(numbers) - 1, min(len(numbers), SAMPLED), dtype=torch.float64).round().long()
        digest.update(f"{role} {len(numbers)}\n".encode())
        store = stores.get(role, stores["train"])
        for number in numbers[chosen].tolist():
            digest.update(digest_of(store.item(number, 0)).encode())
    return digest.hexdigest()
