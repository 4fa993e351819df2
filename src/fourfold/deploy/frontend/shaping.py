"""Lowering of calls that move numbers: reshaping, slicing, reordering."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fourfold.deploy.frontend.traced import Traced, Tracing
from fourfold.deploy.ir.operation import Shape
from fourfold.deploy.ir.ops import Flatten, Pad, Permute, Reshape, Slice

Handler = Callable[..., Any]


def reshaped(trace: Tracing, value: int, shape: Shape) -> int:
    """Append a change of shape, where it is one."""
    before = trace.shape(value)
    shape = tuple(int(size) for size in shape) or (1,)
    if before == shape:
        return value
    if len(before) == 3 and len(shape) == 1:
        return trace.add(Flatten, value)
    return trace.add(Reshape, value, shape=shape)


def _reshape(trace: Tracing, result: Tensor, x: Traced, *settings: Any, **named: Any) -> Traced:
    """Find the axis of the images again: as many numbers lie before it as did, and it holds all images."""
    images = x.shape[x.axis] // x.fold
    before, prefix = math.prod(x.shape[: x.axis]), 1
    for axis, size in enumerate(result.shape):
        if prefix == before and size % images == 0 and size > 0:
            fold = size // images
            shape = (*result.shape[:axis], *([fold] if fold > 1 else []), *result.shape[axis + 1 :])
            value = reshaped(trace, x.value, shape)
            if value == x.value and tuple(result.shape) == tuple(x.shape):
                return trace.like(result, value, x)
            return trace.wrap(result, value, axis, fold)
        prefix *= size
    raise trace.refuse(", as it mixes images: the axis of the batch does not stay one")


def _same(trace: Tracing, result: Tensor, x: Traced, *settings: Any, **named: Any) -> Traced:
    return trace.like(result if result.is_floating_point() else result.float(), x.value, x)


def _fixed(trace: Tracing, result: Tensor, *settings: Any, **named: Any) -> Tensor:
    """Return what has the shape of a value, but none of its numbers."""
    return result


def permuted(trace: Tracing, result: Tensor, x: Traced, order: Any) -> Traced:
    """Append axes in another order."""
    dims = [each % x.ndim for each in order]
    axis = dims.index(x.axis)
    axes = tuple(trace.dim(x, dim) for dim in dims if dim != x.axis or x.fold > 1)
    if axes == tuple(range(len(axes))):
        return trace.like(result, x.value, x, axis)
    return trace.like(result, trace.add(Permute, x.value, order=axes), x, axis)


def _permute(trace: Tracing, result: Tensor, x: Traced, *dims: Any, **named: Any) -> Traced:
    order = named.get("dims", dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims)
    return permuted(trace, result, x, order)


def _transpose(trace: Tracing, result: Tensor, x: Traced, dim0: int = -2, dim1: int = -1) -> Traced:
    order = list(range(x.ndim))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return permuted(trace, result, x, order)


def _move(trace: Tracing, result: Tensor, x: Traced, source: Any, destination: Any) -> Traced:
    numbered = torch.empty(tuple(range(1, x.ndim + 1)), device="meta")
    order = [size - 1 for size in torch.movedim(numbered, source, destination).shape]
    return permuted(trace, result, x, order)


def sliced(trace: Tracing, result: Tensor, x: Traced, dim: int, start: int, step: int = 1) -> Traced:
    """Append what is left of one axis."""
    if result.shape[dim] == x.shape[dim] and step == 1:
        return trace.like(result, x.value, x)
    settings = {"axis": trace.dim(x, dim), "start": int(start), "size": int(result.shape[dim]), "step": abs(int(step))}
    return trace.like(result, trace.add(Slice, x.value, **settings, reverse=step < 0), x)


def _getitem(trace: Tracing, result: Tensor, x: Traced, index: Any) -> Any:
    """Take an axis after the other: slices first, then what drops an axis or adds one."""
    items = list(index) if isinstance(index, tuple) else [index]
    num_indexed = sum(item is not None and item is not Ellipsis for item in items)
    if Ellipsis not in [item if item is Ellipsis else None for item in items]:
        items.append(Ellipsis)
    at = next(number for number, item in enumerate(items) if item is Ellipsis)
    items[at : at + 1] = [slice(None)] * (x.ndim - num_indexed)
    y: Any = x
    dim, shape = 0, list(x.shape)
    dropped, added, place = [], [], 0
    for item in items:
        if item is None:
            added.append(place)
            place += 1
            continue
        if isinstance(item, slice):
            start, stop, step = item.indices(shape[dim])
            shape[dim] = len(range(start, stop, step))
            y = sliced(trace, made_of(shape), y, dim, start, step)
            place += 1
        elif isinstance(item, int):
            shape[dim] = 1
            y = sliced(trace, made_of(shape), y, dim, item % x.shape[dim])
            dropped.append(dim)
        else:
            raise TypeError("an index that is no integer and no slice")
        dim += 1
    if x.axis in dropped:
        raise trace.refuse(", as it takes one of the images")
    axis = x.axis - sum(each < x.axis for each in dropped)
    axis += sum(each <= axis for each in added)
    value_shape = [size for number, size in enumerate(result.shape) if number != axis]
    if x.fold > 1:
        value_shape.insert(axis, x.fold)
    return trace.like(result, reshaped(trace, y.value, tuple(value_shape)), x, axis)


def made_of(shape: list[int]) -> Tensor:
    """Return a tensor of a shape alone: numbers on the way to a result."""
    return torch.empty(tuple(shape), device="meta")


def _narrow(trace: Tracing, result: Tensor, x: Traced, dim: int, start: int, length: int) -> Traced:
    return sliced(trace, result, x, dim % x.ndim, start)


def _select(trace: Tracing, result: Tensor, x: Traced, dim: int, index: int) -> Any:
    return _getitem(trace, result, x, (*(slice(None),) * (dim % x.ndim), index))


def _parts(trace: Tracing, result: Any, x: Traced, sizes: Any, dim: int = 0) -> Any:
    dim, start, parts = dim % x.ndim, 0, []
    for part in result:
        parts.append(sliced(trace, part, x, dim, start))
        start += part.shape[dim]
    return tuple(parts)


def _unbind(trace: Tracing, result: Any, x: Traced, dim: int = 0) -> Any:
    return tuple(_select(trace, part, x, dim, index) for index, part in enumerate(result))


def _iterated(trace: Tracing, result: Any, x: Traced) -> Any:
    with torch._C.DisableTorchFunctionSubclass():
        parts = x.as_subclass(Tensor).unbind(0)
    return iter(_unbind(trace, parts, x, 0))


def _flip(trace: Tracing, result: Tensor, x: Traced, *dims: Any, **named: Any) -> Traced:
    axes = named.get("dims", dims[0] if len(dims) == 1 else dims)
    y = x
    for dim in (axes,) if isinstance(axes, int) else axes:
        y = sliced(trace, result, y, dim % x.ndim, x.shape[dim] - 1, -1)
    return y


def _expand(trace: Tracing, result: Tensor, x: Traced, *sizes: Any, **named: Any) -> Traced:
    """Copy along axes of length 1."""
    if result.ndim != x.ndim:
        raise TypeError("more axes than before")
    grown = [dim for dim in range(x.ndim) if result.shape[dim] != x.shape[dim]]
    if not grown:
        return trace.like(result, x.value, x)
    after = [0] * len(trace.shape(x.value))
    for dim in grown:
        after[trace.dim(x, dim)] = result.shape[dim] - 1
    settings = {"before": (0,) * len(after), "after": tuple(after), "mode": "replicate"}
    return trace.like(result, trace.add(Pad, x.value, **settings), x)


SHAPING: dict[str, Handler] = {
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as"), _reshape),
    **dict.fromkeys(
        (
            "contiguous",
            "clone",
            "detach",
            "data",
            "to",
            "float",
            "double",
            "half",
            "type_as",
            "type",
            "cpu",
            "cuda",
            "requires_grad",
        ),
        _same,
    ),
    "positive": _same,
    "long": _same,
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"), _fixed),
    "permute": _permute,
    "transpose": _transpose,
    "swapaxes": _transpose,
    "swapdims": _transpose,
    "mT": _transpose,
    "t": lambda trace, result, x: _transpose(trace, result, x, 0, 1),
    "movedim": _move,
    "moveaxis": _move,
    "getitem": _getitem,
    "narrow": _narrow,
    "select": _select,
    "chunk": _parts,
    "split": _parts,
    "split_with_sizes": _parts,
    "tensor_split": _parts,
    "unbind": _unbind,
    "iter": _iterated,
    "flip": _flip,
    "expand": _expand,
    "expand_as": _expand,
}
"""By what a call is named."""
