"""Dataclasses from lines of JSON that anybody may have edited: every field must be of its type, and every number finite."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin

T = TypeVar("T")

READING_ERRORS = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
"""What damaged JSON and values of other types lead to; JSON that is nested too deep is a RecursionError."""

LARGEST = 2**63
"""Whole numbers of a row are smaller: those that are not are no counts."""


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
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: _checked(name, value[name], hints[name]) for name in fields if name in value})


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Return a value as a type has it."""
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        return _checked(name, value, next(part for part in get_args(hint) if part is not type(None)))
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise TypeError(f"`{name}` is no object")
        return build(typing.cast("type[Any]", hint), value)
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise TypeError(f"`{name}` is no object")
        return {key: _checked(name, item, get_args(hint)[1]) for key, item in value.items()}
    if get_origin(hint) is tuple:
        return _tuple(name, value, get_args(hint))
    return _plain(name, value, hint)


def _tuple(name: str, value: Any, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError(f"`{name}` is no list")
    if parts[-1] is Ellipsis:
        return tuple(_checked(name, item, parts[0]) for item in value)
    return tuple(_checked(name, item, part) for item, part in zip(value, parts, strict=True))


def _plain(name: str, value: Any, hint: Any) -> Any:
    if hint is float and type(value) in (int, float):
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"`{name}` is not finite")
        return number
    if type(value) is not hint:
        raise TypeError(f"`{name}` is of type {type(value).__name__}, and must be of type {hint.__name__}")
    if hint is int and abs(value) >= LARGEST:
        raise ValueError(f"`{name}` is too large")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
