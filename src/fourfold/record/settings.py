"""The fields of a spec by their dotted names, such as `train.learning_rate`, and their values from text."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from fourfold.record.errors import UserError, unknown
from fourfold.record.references import Trust
from fourfold.record.spec import Spec

Value = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | None
"""What a field of a spec may hold."""

TUPLE = "+"
"""Joins the numbers or names of a tuple in text: commas part the values of a list."""


def field_types() -> dict[str, Any]:
    """Return the type of every field that holds a plain value, by dotted name; `train.early_stopping.…` are among them."""
    return dict(_walk(Spec, ""))


def field_type(name: str) -> Any:
    """Return a field's type.

    Raises:
        UserError: a spec has no such field.
    """
    known = field_types()
    if name not in known:
        raise unknown("field of a spec", name, known)
    return known[name]


def is_number(name: str) -> bool:
    """Whether a field holds numbers, which have an order."""
    return any(part in (int, float) for part in _parts(field_type(name)))


def parse_value(name: str, text: str) -> Value:
    """Return the value that a text means for a field: `none` for None, `true` and `false`, `10+12` for a tuple.

    Raises:
        UserError: there is no such field, or the text is of another type.
    """
    hint = field_type(name)
    parts = _parts(hint)
    if type(None) in parts and text == "none":
        return None
    for part in parts:
        if (value := _parse(part, text)) is not None:
            return value
    raise UserError(f"`{name}` (={text!r}) must be {_expected(parts)}")


def split_words(words: Iterable[str], expected: str, if_twice: str = "") -> dict[str, str]:
    """Return the text of each field that `--set FIELD=TEXT` words name.

    Args:
        words: What was given.
        expected: What a word must be, in words.
        if_twice: Advice for a field that is named twice.

    Raises:
        UserError: a word has no field or no text, or a field comes twice.
    """
    texts: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not text:
            raise UserError(f"`--set` (={word!r}) must be {expected}")
        if name in texts:
            raise UserError(f"`--set` names {name} twice{if_twice}")
        texts[name] = text
    return texts


def get_field(spec: Spec, name: str) -> Value:
    """Return the value of a field; None where what it belongs to is off."""
    value: Any = spec
    for word in name.split("."):
        value = getattr(value, word, None)
    return typing.cast("Value", value)


def with_fields(spec: Spec, values: Mapping[str, Value]) -> Spec:
    """Return a spec with other values of some fields, all at once; what they belong to is switched on if it was off.

    Raises:
        UserError: there is no such field, or the spec refuses the values.
    """
    for name in values:
        field_type(name)
    return typing.cast("Spec", _replaced(spec, values))


def _replaced(owner: Any, values: Mapping[str, Value], within: str = "") -> Any:
    """Return a dataclass with other values, by their dotted names from there on; `within` is what leads there."""
    own: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for part in {name.partition(".")[0]: None for name in values if "." in name}:
        if part in own:
            raise UserError(f"`{within}{part}` (={own[part]!r}) and a field of it cannot both be set")
        inner = getattr(owner, part)
        if inner is None:
            inner = _dataclass_in(typing.get_type_hints(type(owner))[part])()
        below = {name.removeprefix(f"{part}."): value for name, value in values.items() if name.startswith(f"{part}.")}
        own[part] = _replaced(inner, below, f"{within}{part}.")
    return dataclasses.replace(owner, **own)


def _walk(owner: type, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, hint in typing.get_type_hints(owner).items():
        if hint == Trust | None:
            continue  # what code may be imported is no setting
        inner = _dataclass_in(hint)
        if inner is None:
            yield f"{prefix}{name}", hint
        else:
            yield from _walk(inner, f"{prefix}{name}.")
            if type(None) in get_args(hint):
                yield f"{prefix}{name}", type(None)


def _dataclass_in(hint: Any) -> Any:
    return next((part for part in (hint, *get_args(hint)) if dataclasses.is_dataclass(part)), None)


def _parts(hint: Any) -> tuple[Any, ...]:
    """Return the alternatives of a type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _parse(part: Any, text: str) -> Value:
    """Return the value of one alternative, or None if the text is not of it."""
    if get_origin(part) is Literal:
        return text if text in get_args(part) else None
    if get_origin(part) is tuple:
        words = [] if text == "()" else text.split(TUPLE)
        if get_args(part)[0] is str:
            return tuple(words)
        if get_args(part)[0] is float:
            numbers = [_parse(float, word) for word in words]
            return None if None in numbers else typing.cast("tuple[float, ...]", tuple(numbers))
        return tuple(map(int, words)) if all(word.isdecimal() for word in words) else None
    if part is str:
        return text
    if part is bool:
        return {"true": True, "false": False}.get(text.lower())
    if part in (int, float):
        try:
            return typing.cast("int | float", part(text))
        except ValueError:
            return None
    return None


def _expected(parts: tuple[Any, ...]) -> str:
    names = []
    for part in parts:
        if get_origin(part) is Literal:
            names.append(" or ".join(sorted(get_args(part))))
        elif get_origin(part) is tuple:
            kind = {str: "names", float: "numbers"}.get(get_args(part)[0], "integers")
            names.append(f"{kind} joined by {TUPLE}, or ()")
        else:
            names.append({bool: "true or false", int: "an integer", float: "a number", str: "a name"}.get(part, "none"))
    return " or ".join(names)
