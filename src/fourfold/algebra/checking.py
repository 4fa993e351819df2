"""What the functions on elements ask of their arguments: a last axis of the right length, and a type wide enough."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

from fourfold.algebra.algebra import Algebra

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result", Tensor, tuple[Tensor, Tensor])

NARROW = (torch.float16, torch.bfloat16)


def check_components(argument: str, q: Tensor, algebra: Algebra) -> None:
    """Raise unless the last axis holds the components of the algebra."""
    if q.dim() == 0 or q.shape[-1] != algebra.n:
        raise ValueError(
            f"`{argument}` of shape {tuple(q.shape)}: last axis (={_last(q)}) must hold the {algebra.n} components of algebra"
            f" {algebra.name!r}"
        )


def check_coordinates(argument: str, vector: Tensor) -> None:
    """Raise unless the last axis holds the coordinates of a vector in space."""
    if vector.dim() == 0 or vector.shape[-1] != 3:
        raise ValueError(f"last axis of `{argument}` (={_last(vector)}) must hold 3 coordinates")


def check_floating(argument: str, tensor: Tensor) -> None:
    """Raise unless a tensor is of a floating type: integers have no quotients, roots or angles."""
    if not tensor.is_floating_point():
        raise ValueError(f"`{argument}` (={tensor.dtype}) must be of a floating type: convert it by `.float()`")


def _last(tensor: Tensor) -> object:
    return tensor.shape[-1] if tensor.dim() else "a scalar's, which has none"


def in_float32_at_least(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function see its half and bfloat16 tensors in float32, and round what it returns once, to their type.

    Its tensors must be of a floating type, and what it calls a tensor must be one.
    """
    names: list[str] = list(signature(function).parameters)
    must_be_tensors = {name for name, parameter in signature(function).parameters.items() if parameter.annotation is Tensor}

    @wraps(function)
    def in_float32(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        tensors = []
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if isinstance(value, Tensor):
                check_floating(name, value)
                tensors.append(value)
            elif name in must_be_tensors:
                raise ValueError(f"`{name}` (={value!r}) must be a tensor")
        if not any(tensor.dtype in NARROW for tensor in tensors):
            return function(*args, **kwargs)
        narrow = tensors[0].dtype
        for tensor in tensors[1:]:
            narrow = torch.promote_types(narrow, tensor.dtype)
        wide: Any = function
        result: Any = wide(*map(_widen, args), **{name: _widen(value) for name, value in kwargs.items()})
        rounded: Any = tuple(part.to(narrow) for part in result) if isinstance(result, tuple) else result.to(narrow)
        return cast(Result, rounded)

    return in_float32


def widened(x: Tensor) -> Tensor:
    """Return a tensor in float32 or better, for sums and squares leave the precision and the range of half types early."""
    return x.float() if x.dtype in NARROW else x


def without_autocast(device: str) -> AbstractContextManager[None]:
    """Return the context in which tensors of a device keep their types."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _widen(value: object) -> object:
    return widened(value) if isinstance(value, Tensor) else value
