"""What one's own data are made of: the items of each part, and the seeded split of a part from the training items."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fourfold.data.split import stratified
from fourfold.data.stores import Store
from fourfold.data.trees import Tree, leaves, select
from fourfold.record.errors import UserError

Role = Literal["train", "validation", "test"]

BLOCK = 2**26
"""Bytes that are hashed at a time."""

SPLIT_SEEDS = {"validation": 0, "test": 1}
"""Draw the items that are held out: the same for every algebra, trial and level."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Some items of a store, in their order."""

    store: Store
    members: Tensor | None = None
    """int64 (N,) on the CPU; None means all."""

    def __len__(self) -> int:
        return len(self.store) if self.members is None else len(self.members)

    def numbers(self) -> Tensor:
        """Return the numbers of the items in the store, int64 (N,)."""
        return torch.arange(len(self.store)) if self.members is None else self.members

    def targets(self) -> Tree | None:
        """Return the targets; None where they are read with their inputs."""
        every = self.store.targets
        return every if every is None or self.members is None else select(every, self.members)


def first_of(part: Part, count: int) -> Part:
    """Return the first items of a part."""
    return Part(store=part.store, members=part.numbers()[:count])


def held_out(part: Part, share: float, role: Role, *, by_class: bool) -> tuple[Part, Part]:
    """Return what is left of a part, and what is held out of it.

    Args:
        part: The training part.
        share: How many items to hold out, from 1, or which part of them, below 1.
        role: Of what is held out.
        by_class: Whether every class is held out in proportion; else any item is as likely as another.

    Raises:
        UserError: a share that leaves nothing on one side.
    """
    count = part_size(share, len(part), role)
    labels = part.targets() if by_class else None
    groups = np.zeros(len(part), dtype=np.int64) if labels is None else labels.numpy()
    chosen = stratified(groups, count, SPLIT_SEEDS[role])
    rest = np.setdiff1d(np.arange(len(part)), chosen)
    numbers = part.numbers()
    kept, out = (Part(store=part.store, members=numbers[torch.from_numpy(places)]) for places in (rest, chosen))
    return kept, out


def part_size(share: float, total: int, role: Role) -> int:
    """Return how many of so many items a share is.

    Raises:
        UserError: it is none, or all.
    """
    if isinstance(share, bool) or not isinstance(share, int | float | np.integer | np.floating) or not share > 0:
        raise UserError(f"`{role}` (={share!r}) must be (inputs, targets), a number of items from 1, or a part of them below 1")
    count = round(share * total) if share < 1 else int(share)
    if share >= 1 and count != share:
        raise UserError(f"`{role}` (={share!r}) must be an integer from 1, or a part below 1")
    if not 0 < count < total:
        raise UserError(
            f"`{role}` (={share!r}) must leave items on both sides of {total:,} training items, and holds out {count:,}"
        )
    return count


def content_digest(parts: Mapping[Role, tuple[Tree, Tensor | None]]) -> str:
    """Return the SHA-256 of the inputs and targets of parts, hexadecimal; it changes if one value, type or shape does."""
    digest = hashlib.sha256()
    for role, (tree, members) in parts.items():
        for path, leaf in leaves(tree):
            count = len(leaf) if members is None else len(members)
            digest.update(f"{role} {path} {leaf.dtype} {(count, *leaf.shape[1:])}\n".encode())
            step = max(1, BLOCK // max(1, leaf[0].numel() * leaf.element_size()))
            for start in range(0, count, step):
                block = leaf[start : start + step] if members is None else leaf[members[start : start + step]]
                digest.update(_bytes(block))
    return digest.hexdigest()


def _bytes(block: Tensor) -> Any:
    return np.ascontiguousarray(block.numpy()).data
