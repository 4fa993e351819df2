"""What layers cache in evaluation: tensors made of their weights alone, checked bit by bit at every call.

torch counts the writes to a tensor, but not those through `.data`, numpy or DLPack. So an entry keeps a copy of the stored
weights, is made of that copy, and holds for weights of exactly the same bits. Stored weights are n times smaller than the
expanded matrix, and comparing them takes a quarter of the time of a product with one row, or less.
"""

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fourfold.nn.eager import is_plain_eager

Value = TypeVar("Value")

_compare = (ctypes.cdll.msvcrt if os.name == "nt" else ctypes.CDLL(None)).memcmp
_compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_compare.restype = ctypes.c_int


@dataclass(frozen=True)
class _Entry:
    """What a layer has computed from its weights."""

    copies: tuple[Tensor, ...]
    values: dict[str, tuple[tuple[Any, ...], Any]] = field(default_factory=dict)
    """By name: the settings it was computed with, and the result."""

    def is_of(self, sources: tuple[Tensor, ...]) -> bool:
        return len(sources) == len(self.copies) and all(map(_same_bits, sources, self.copies))


_ENTRIES: WeakKeyDictionary[nn.Module, _Entry] = WeakKeyDictionary()
"""Beside the layers, not in them, so that copies, pickles and state dicts have none of it."""


def cached(
    layer: nn.Module, name: str, make: Callable[..., Value], sources: tuple[Tensor, ...], settings: tuple[Any, ...] = ()
) -> Value:
    """Return `make(*sources)`, from the layer's cache while the layer only evaluates in plain eager mode.

    `make` may depend on the sources and the settings alone. It is given copies of the sources and called without gradients,
    so neither a write by another thread nor inference mode leaves a mark on what is cached.
    """
    if layer.training or torch.is_grad_enabled():
        forget(layer)
        return make(*sources)
    if torch.is_autocast_enabled("cpu") or not is_plain_eager(*sources):
        return make(*sources)
    entry = _ENTRIES.get(layer)
    if entry is None or not entry.is_of(sources):
        with torch.inference_mode(False), torch.no_grad():
            entry = _Entry(tuple(source.detach().clone() for source in sources))
        if not all(copy.stride() == source.stride() for copy, source in zip(entry.copies, sources, strict=True)):
            return make(*sources)  # weights with gaps or repetitions in memory
        _ENTRIES[layer] = entry
    known = entry.values.get(name)
    if known is None or known[0] != settings:
        with torch.inference_mode(False), torch.no_grad():
            known = entry.values[name] = settings, make(*entry.copies)
    value: Value = known[1]
    return value


def forget(layer: nn.Module) -> None:
    """Free what a layer caches; compilers need not follow that."""
    if not torch.compiler.is_compiling():
        _ENTRIES.pop(layer, None)


def clear_cache(model: nn.Module | None = None) -> None:
    """Free what the layers of a model, or of all models, cache in evaluation; they make it again when they need it.

    It is never needed for right results. The memory is that of the expanded weights and of a copy of the stored ones; it is
    also freed when a layer trains or is deleted.
    """
    if model is None:
        _ENTRIES.clear()
        return
    for module in model.modules():
        _ENTRIES.pop(module, None)


def _same_bits(source: Tensor, copy: Tensor) -> bool:
    """Compare dense tensors: NaN equals itself, and −0 is not 0."""
    return (
        source.dtype == copy.dtype
        and source.shape == copy.shape
        and source.stride() == copy.stride()
        and _compare(source.data_ptr(), copy.data_ptr(), source.numel() * source.element_size()) == 0
    )
