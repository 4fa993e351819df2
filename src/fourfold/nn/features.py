"""Joining and parting features of elements: `cat`, `chunk` and `split` that keep the components blocked.

Two features [r… x… y… z…] behind each other are [r… x… y… z… r… x… y… z…], which the next layer reads as numbers of other
components, and an eighth of such features is half a component. So the real parts are joined with the real parts, and so on.
`stack` is torch's: along a new axis, numbers stay what they are.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, fx, stack

from fourfold.algebra import Algebra, get
from fourfold.nn.base import check_divisible
from fourfold.nn.components import axis_of, join_components, split_components

Recorded = TypeVar("Recorded")

__all__ = ["cat", "cat_features", "chunk", "chunk_features", "feature_axis", "split", "split_features", "stack"]


def cat(tensors: Iterable[Tensor], dim: int = 1, *, algebra: str | Algebra = "real") -> Tensor:
    """Return the numbers of several tensors, one tensor's behind the other's; `real` is `torch.cat`.

    Shapes: (…, n·c₁, …), (…, n·c₂, …), … → (…, n·(c₁ + c₂ + …), …), blocked by component along `dim`.

    Raises:
        ValueError: a tensor has no axis `dim`, or its size is not divisible by the algebra's dimension n.
    """
    algebra = get(algebra)
    if _is_traced(tensors):
        return _recorded_call(cat, tensors, dim, algebra=algebra.name)
    tensors = list(tensors)
    if algebra.n == 1 or not tensors:
        return torch.cat(tensors, dim)
    dim = axis_of(tensors[0], dim)
    return join_components(torch.cat([split_components(tensor, algebra, dim) for tensor in tensors], dim + 1), dim)


def chunk(input: Tensor, chunks: int, dim: int = 1, *, algebra: str | Algebra = "real") -> tuple[Tensor, ...]:
    """Return the numbers of a tensor in so many parts, as equal as `torch.chunk` makes them; `real` is `torch.chunk`.

    Shapes: (…, n·c, …) → parts (…, n·(c / chunks), …), each blocked by component along `dim`.

    Raises:
        ValueError: the tensor has no axis `dim`, or its size is not divisible by the algebra's dimension n.
    """
    algebra = get(algebra)
    if _is_traced(input):
        return _recorded_call(chunk, input, chunks, dim, algebra=algebra.name)
    if algebra.n == 1:
        return input.chunk(chunks, dim)
    dim = axis_of(input, dim)
    return tuple(join_components(part, dim) for part in split_components(input, algebra, dim).chunk(chunks, dim + 1))


def split(
    input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 1, *, algebra: str | Algebra = "real"
) -> tuple[Tensor, ...]:
    """Return the numbers of a tensor in parts of given sizes, counted in real features; `real` is `torch.split`.

    Shapes: (…, n·c, …) → parts (…, size, …), each blocked by component along `dim`.

    Raises:
        ValueError: the tensor has no axis `dim`, or a size is not divisible by the algebra's dimension n.
    """
    algebra = get(algebra)
    if _is_traced(input):
        return _recorded_call(split, input, split_size_or_sections, dim, algebra=algebra.name)
    if algebra.n == 1:
        return input.split(split_size_or_sections, dim)  # type: ignore[no-untyped-call, no-any-return]
    is_equal = isinstance(split_size_or_sections, int)
    sections = [split_size_or_sections] if isinstance(split_size_or_sections, int) else list(split_size_or_sections)
    for section in sections:
        check_divisible("split_size_or_sections", section, algebra)
    dim, numbers = axis_of(input, dim), [section // algebra.n for section in sections]
    parts = torch.split(split_components(input, algebra, dim), numbers[0] if is_equal else numbers, dim + 1)
    return tuple(join_components(part, dim) for part in parts)


def feature_axis(rank: int, maps: int) -> int:
    """Return the axis of the features of a tensor between layers: `maps` axes of positions are behind it, or none.

    Maps with or without a batch have it before their positions, all else, such as maps that were flattened, at the end.
    """
    return rank - maps - 1 if maps and rank in (maps + 1, maps + 2) else rank - 1


def cat_features(tensors: Sequence[Tensor], dim: int = 0, *, maps: int, algebra: str) -> Tensor:
    """Return `cat` where `dim` is the axis of the features, and all are of elements; else what torch's gives."""
    if _is_traced(tensors):
        return _recorded_call(cat_features, tensors, dim, maps=maps, algebra=algebra)
    if all(_holds_numbers(tensor, dim, maps, algebra) for tensor in tensors):
        return cat(tensors, dim, algebra=algebra)
    return torch.cat(list(tensors), dim)


def chunk_features(input: Tensor, chunks: int, dim: int = 0, *, maps: int, algebra: str) -> tuple[Tensor, ...]:
    """Return `chunk` where `dim` is the axis of the features; else what torch's gives."""
    if _is_traced(input):
        return _recorded_call(chunk_features, input, chunks, dim, maps=maps, algebra=algebra)
    return chunk(input, chunks, dim, algebra=algebra if _holds_numbers(input, dim, maps, algebra, chunks) else "real")


def split_features(
    input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0, *, maps: int, algebra: str
) -> tuple[Tensor, ...]:
    """Return `split` where `dim` is the axis of the features, and all parts are of elements; else what torch's gives."""
    if _is_traced(input):
        return _recorded_call(split_features, input, split_size_or_sections, dim, maps=maps, algebra=algebra)
    sizes = [split_size_or_sections] if isinstance(split_size_or_sections, int) else split_size_or_sections
    whole = _holds_numbers(input, dim, maps, algebra) and all(size % get(algebra).n == 0 for size in sizes)
    return split(input, split_size_or_sections, dim, algebra=algebra if whole else "real")


def hstack_features(tensors: Sequence[Tensor], *, maps: int, algebra: str) -> Tensor:
    """Return `cat` along axis 1 where that is the axis of the features; else what `torch.hstack` gives."""
    if _is_traced(tensors):
        return _recorded_call(hstack_features, tensors, maps=maps, algebra=algebra)
    if all(_holds_numbers(tensor, 1, maps, algebra) for tensor in tensors):
        return cat(tensors, 1, algebra=algebra)
    return torch.hstack(list(tensors))


def narrow_features(input: Tensor, dim: int, start: int, length: int, *, maps: int, algebra: str) -> Tensor:
    """Return numbers where `dim` is the axis of the features and they are whole; else what `torch.narrow` gives."""
    if _is_traced(input):
        return _recorded_call(narrow_features, input, dim, start, length, maps=maps, algebra=algebra)
    n = get(algebra).n
    if not isinstance(start, int) or start % n or length % n or not _holds_numbers(input, dim, maps, algebra):
        return input.narrow(dim, start, length)
    axis = axis_of(input, dim)
    start %= input.shape[axis]
    return join_components(split_components(input, get(algebra), axis).narrow(axis + 1, start // n, length // n), axis)


def index_features(input: Tensor, index: tuple[Any, ...], *, maps: int, algebra: str) -> Tensor:
    """Return `input[index]`, but elements of a slice of the axis of the features that begins and ends between elements."""
    if _is_traced(input):
        return _recorded_call(index_features, input, index, maps=maps, algebra=algebra)
    if not isinstance(input, Tensor) or any(part is None for part in index):
        return input[index]
    n, rank, axis = get(algebra).n, input.dim(), feature_axis(input.dim(), maps)
    at = next((i for i, part in enumerate(index) if part is Ellipsis), len(index))
    behind = index[at + 1 :]
    parts = [*index[:at], *[slice(None)] * (rank - at - len(behind)), *behind]
    chosen = parts[axis] if len(parts) == rank else None
    if not isinstance(chosen, slice) or not _holds_numbers(input, axis, maps, algebra):
        return input[index]
    start, stop, step = chosen.indices(input.shape[axis])
    if step != 1 or start % n or stop % n or stop <= start:
        return input[index]
    narrowed = narrow_features(input, axis, start, stop - start, maps=maps, algebra=algebra)
    parts[axis] = slice(None)
    return narrowed[tuple(parts)]


def _holds_numbers(tensor: Tensor, dim: int, maps: int, algebra: str, parts: int = 1) -> bool:
    rank = tensor.dim()
    is_feature = -rank <= dim < rank and dim % rank == feature_axis(rank, maps)
    return is_feature and tensor.shape[dim] % (get(algebra).n * parts) == 0


def _is_traced(tensors: Any) -> bool:
    """Whether a tensor, or one of several, is what a tracer of `torch.fx` hands round."""
    return isinstance(tensors, fx.Proxy) or (not isinstance(tensors, Tensor) and any(isinstance(t, fx.Proxy) for t in tensors))


def _recorded_call(function: Callable[..., Recorded], first: Any, *arguments: Any, **options: Any) -> Recorded:
    """Note the call for a tracer of `torch.fx`, to which these functions are wholes as torch's are."""
    proxy = first if isinstance(first, fx.Proxy) else next(value for value in first if isinstance(value, fx.Proxy))
    call: Any = proxy.tracer.create_proxy("call_function", function, (first, *arguments), options)
    return cast(Recorded, call)
