"""Dataclasses from lines of JSON that anybody may have edited: every field must be of its type, and all numbers finite."""

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin

T = TypeVar("T")

READING_ERRORS = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
"""What damaged JSON and values of other types lead to; JSON that is nested too deep is a RecursionError."""

LARGEST = 2**63
"""Integers of a row are smaller: those that are not are no counts."""


def parse_object(text: str) -> dict[str, Any]:
    """Return the object that a text of JSON is; NaN and infinity, which JSON does not have, are refused.

    Raises:
        ValueError: it is not one, or is nested too deep.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


def build(cls: type[T], value: Mapping[str, Any]) -> T:
    """Return a dataclass whose fields have the values of a JSON object; unknown ones, of a later version, are left out.

    Raises:
        ValueError, TypeError: a field is missing, or its value is of another type.
    """
    fields = _fields(cls)  # type: ignore[arg-type]
    return cls(**{name: check(name, value[name]) for name, check in fields if name in value})


@functools.cache
def _fields(cls: type[Any]) -> "tuple[tuple[str, _Check], ...]":
    """Return the fields of a dataclass, each with what checks its values; found once, as a row has thousands of values."""
    hints = typing.get_type_hints(cls)
    return tuple((field.name, _check_of(hints[field.name])) for field in dataclasses.fields(cls))


_Check = Callable[[str, Any], Any]
"""Called with the name of a field and its value in JSON; returns the value as the field's type has it."""


def _check_of(hint: Any) -> _Check:
    if get_origin(hint) in (Union, types.UnionType):
        some = _check_of(next(part for part in get_args(hint) if part is not type(None)))
        may_be_none = type(None) in get_args(hint)
        return lambda name, value: None if value is None and may_be_none else some(name, value)
    if dataclasses.is_dataclass(hint):
        return partial(_object, typing.cast("type[Any]", hint))
    if get_origin(hint) is dict:
        return partial(_dict, _check_of(get_args(hint)[1]))
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        if parts[-1] is Ellipsis:
            return partial(_list, _check_of(parts[0]))
        return partial(_tuple, tuple(map(_check_of, parts)))
    return _float if hint is float else partial(_plain, hint)


def _object(cls: type[Any], name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"`{name}` is no object")
    return build(cls, value)


def _dict(check: _Check, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"`{name}` is no object")
    return {key: check(name, item) for key, item in value.items()}


def _list(check: _Check, name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError(f"`{name}` is no list")
    return tuple([check(name, item) for item in value])


def _tuple(checks: tuple[_Check, ...], name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError(f"`{name}` is no list")
    return tuple(check(name, item) for check, item in zip(checks, value, strict=True))


def _float(name: str, value: Any) -> Any:
    if type(value) not in (int, float):
        return _plain(float, name, value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"`{name}` is not finite")
    return number


def _plain(hint: type[Any], name: str, value: Any) -> Any:
    if type(value) is not hint:
        raise TypeError(f"`{name}` is of type {type(value).__name__}, and must be of type {hint.__name__}")
    if hint is int and abs(value) >= LARGEST:
        raise ValueError(f"`{name}` is too large")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")
