"""Batches of several tensors: a tree is a tensor, or a dict, tuple or list of trees, as `default_collate` returns them."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

Tree: TypeAlias = Any
"""A tensor, or a dict, tuple or list of trees."""


def is_leaf(tree: Tree) -> bool:
    """Whether a tree is one tensor, array or value, and not a dict, tuple or list of them."""
    return not isinstance(tree, Mapping | tuple | list)


def leaves(tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a tree with their paths, such as `["mask"]` or `[0]`; the path of a single tensor is empty."""
    if isinstance(tree, Mapping):
        for key, branch in tree.items():
            yield from leaves(branch, f"{path}[{key!r}]")
    elif is_leaf(tree):
        yield path, tree
    else:
        for number, branch in enumerate(tree):
            yield from leaves(branch, f"{path}[{number}]")


def mapped(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """Return a tree of the same form whose tensors are those that a function returns; lists become tuples."""
    if isinstance(tree, Mapping):
        return {key: mapped(function, branch) for key, branch in tree.items()}
    if is_leaf(tree):
        return function(tree)
    branches = [mapped(function, branch) for branch in tree]
    return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)


def select(tree: Tree, chosen: slice | Tensor) -> Tree:
    """Return the items of a tree at some places, int64 (B,) or a slice."""
    if isinstance(chosen, slice):
        return mapped(lambda leaf: leaf[chosen], tree)
    return mapped(lambda leaf: leaf.index_select(0, chosen.to(leaf.device)), tree)


def divided(tree: Tree, parts: int) -> list[Tree]:
    """Return the items of a tree in so many parts of equal size, the first ones one longer where that does not divide."""
    count = length(tree)
    starts = [number * (count // parts) + min(number, count % parts) for number in range(parts + 1)]
    return [select(tree, slice(start, end)) for start, end in itertools.pairwise(starts)]


def moved(tree: Tree, device: torch.device) -> Tree:
    """Return a tree on a device."""
    return mapped(lambda leaf: leaf.to(device, non_blocking=True), tree)


def joined(trees: list[Tree]) -> Tree:
    """Return the items of several trees of the same form, one behind the other."""
    first = trees[0]
    if isinstance(first, Mapping):
        return {key: joined([tree[key] for tree in trees]) for key in first}
    if is_leaf(first):
        return torch.cat(trees)
    branches = [joined([tree[number] for tree in trees]) for number in range(len(first))]
    return type(first)(*branches) if hasattr(first, "_fields") else tuple(branches)


def length(tree: Tree) -> int:
    """Return the number of items of a tree."""
    return len(next(leaf for _, leaf in leaves(tree)))


def num_bytes(tree: Tree) -> int:
    """Return the bytes that the tensors of a tree take."""
    return sum(leaf.numel() * leaf.element_size() for _, leaf in leaves(tree))


def item_shape(tree: Tree) -> Tree:
    """Return the shape of one item: a tuple of integers, or a dict or tuple of such."""
    return mapped(lambda leaf: tuple(leaf.shape[1:]), tree)
