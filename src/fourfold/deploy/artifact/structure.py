"""A program without its arrays as JSON, and back: every field is checked, for a file may hold anything."""

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from typing import Any, get_args, get_type_hints

from fourfold.deploy.artifact.bits import DamageError
from fourfold.deploy.ir.bounds import ALGEBRA_SIZES, BOUNDS
from fourfold.deploy.ir.encoding import ENCODINGS
from fourfold.deploy.ir.operation import Operation
from fourfold.deploy.ir.ops import KINDS
from fourfold.deploy.ir.product import LeftTable
from fourfold.deploy.ir.program import Encoding, Port

Json = dict[str, Any]

LARGEST = BOUNDS["value"].largest
"""Of any integer in a file."""

MOST_SIDES = 5
"""Of a shape."""

MOST_INPUTS = 256
"""Of an operation."""


def parse(text: str | bytes) -> Json:
    """Return the JSON object of a text.

    Raises:
        DamageError: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamageError(f"its description is no JSON ({error})") from error
    return mapping(value, "description")


def operation_to_json(operation: Operation) -> Json:
    """Return an operation's kind, name and inputs, and of its settings those that differ from the defaults."""
    unusual_settings = unusual(operation, _settings(type(operation)))
    return {"kind": operation.kind, "name": operation.name, "inputs": operation.inputs, **unusual_settings}


def unusual(settings: Any, among: Iterable[Field[Any]]) -> Json:
    """Return the fields of a dataclass that differ from their defaults, by name."""
    values = {field.name: (getattr(settings, field.name), field.default) for field in among}
    return {name: value for name, (value, default) in values.items() if value != default or _is_negative_zero(value)}


def _is_negative_zero(value: Any) -> bool:
    """Whether a value equals 0 and is another number, of which 1 / x has another sign."""
    return isinstance(value, float) and value == 0 and math.copysign(1, value) < 0


def operation_from_json(value: Json, output: int, arrays: Json) -> Operation:
    """Return the operation of its JSON, with arrays that were read elsewhere.

    Raises:
        DamageError: a field is missing or of another type.
    """
    kind = choice(value, "kind", tuple(KINDS))
    cls, hints = KINDS[kind], _hints(kind)
    settings = {
        field.name: _setting(value.get(field.name), hints[field.name], field.name)
        for field in _settings(cls)
        if field.name in value or field.default is MISSING
    }
    inputs = integers(value, "inputs", MOST_INPUTS)
    return cls(name=text(value, "name"), inputs=inputs, output=output, **settings, **arrays)


def encoding_from_json(value: Any) -> Encoding | None:
    """Return an encoding from the JSON of its fields.

    Raises:
        DamageError: a field is missing or of another type.
    """
    if value is None:
        return None
    value = mapping(value, "encoding")
    shape = integers(value, "shape", MOST_SIDES)
    if len(shape) != 3:
        raise DamageError(f"`shape` (={shape}) of its encoding is not channels, height and width")
    return Encoding(
        kind=choice(value, "kind", ENCODINGS),
        n=integer(value, "n"),
        shape=(shape[0], shape[1], shape[2]),
        mean=_floats(value, "mean"),
        std=_floats(value, "std"),
    )


def table_from_json(value: Any) -> LeftTable:
    """Return an algebra's table: n rows of n pairs, a component and a sign.

    Raises:
        DamageError: it is not of that form.
    """
    n = len(value) if isinstance(value, list) else 0
    if n not in ALGEBRA_SIZES:
        raise DamageError(f"`tables` must have {', '.join(map(str, ALGEBRA_SIZES))} rows")
    rows = []
    for row in value:
        if not isinstance(row, list) or len(row) != n:
            raise DamageError("`tables` must have as many columns as rows")
        pairs = [tuple(pair) if isinstance(pair, list) else () for pair in row]
        if not all(len(pair) == 2 and _is_integer(pair[0], n - 1) and _is_sign(pair[1]) for pair in pairs):
            raise DamageError(f"`tables` must hold components below {n} and signs")
        rows.append(tuple((component, int(sign)) for component, sign in pairs))
    return tuple(rows)


def ports_from_json(value: Any) -> tuple[Port, ...]:
    """Return the inputs or outputs of a network of several.

    Raises:
        DamageError: they are no list of names and shapes.
    """
    ports = [mapping(port, "port") for port in listed({"ports": value}, "ports")]
    if len(ports) > MOST_INPUTS:
        raise DamageError(f"`ports` (={len(ports)}) must be at most {MOST_INPUTS}")
    return tuple(Port(name=text(port, "name"), shape=integers(port, "shape", MOST_SIDES)) for port in ports)


def ranges_from_json(value: Any, last: int) -> dict[int, float]:
    """Return the ranges of values, whose numbers are at most `last`."""
    value = mapping(value, "ranges")
    known = set(map(str, range(last + 1)))
    if not known.issuperset(value):
        raise DamageError("`ranges` names a value that there is not")
    return {int(name): _number(item, "ranges") for name, item in value.items()}


def mapping(value: Any, name: str) -> Json:
    """Return a value that must be a JSON object."""
    if not isinstance(value, dict):
        raise DamageError(f"its {name} is no JSON object")
    return value


def integer(value: Json, name: str, largest: int = LARGEST) -> int:
    """Return a field that must be a integer from 0 to `largest`."""
    setting = value.get(name)
    if not _is_integer(setting, largest):
        raise DamageError(f"`{name}` (={setting!r:.40}) is no integer from 0 to {largest}")
    return int(setting)  # type: ignore[arg-type]


def integers(value: Json, name: str, most: int) -> tuple[int, ...]:
    """Return a field that must be a list of at most so many integers."""
    setting = listed(value, name)
    if len(setting) > most or not all(_is_integer(item, LARGEST) for item in setting):
        raise DamageError(f"`{name}` is no list of up to {most} integers")
    return tuple(setting)


def text(value: Json, name: str) -> str:
    """Return a field that must be text."""
    setting = value.get(name)
    if not isinstance(setting, str):
        raise DamageError(f"`{name}` is no text")
    return setting


def listed(value: Json, name: str) -> list[Any]:
    """Return a field that must be a list."""
    setting = value.get(name)
    if not isinstance(setting, list):
        raise DamageError(f"`{name}` is no list")
    return setting


def texts(value: Json, name: str) -> tuple[str, ...]:
    """Return a field that must be a list of texts."""
    setting = listed(value, name)
    if not all(isinstance(item, str) for item in setting):
        raise DamageError(f"`{name}` is no list of texts")
    return tuple(setting)


def choice(value: Json, name: str, known: tuple[str, ...]) -> str:
    """Return a field that must be one of several texts."""
    setting = text(value, name)
    if setting not in known:
        raise DamageError(f"`{name}` (={setting!r:.40}) is none of {', '.join(known)}")
    return setting


def flag(value: Json, name: str) -> bool:
    """Return a field that must be true or false."""
    setting = value.get(name)
    if not isinstance(setting, bool):
        raise DamageError(f"`{name}` is neither true nor false")
    return setting


def _number(setting: Any, name: str) -> float:
    if isinstance(setting, bool) or not isinstance(setting, int | float):
        raise DamageError(f"`{name}` is not a number")
    try:
        number = float(setting)
    except OverflowError:  # JSON's integers have any number of digits
        number = math.inf
    if not math.isfinite(number):
        raise DamageError(f"`{name}` is no finite number")
    return number


def _floats(value: Json, name: str) -> tuple[float, ...]:
    return tuple(_number(item, name) for item in listed(value, name))


def _is_integer(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def _is_sign(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) == 1


@functools.cache
def _hints(kind: str) -> Json:
    """Return the types of an operation's fields, parsed once."""
    return get_type_hints(KINDS[kind])


def _settings(cls: type[Operation]) -> list[Field[Any]]:
    elsewhere = {*(field.name for field in fields(Operation)), *cls.arrays, "product"}
    return [field for field in fields(cls) if field.name not in elsewhere]


def _setting(value: Any, hint: Any, name: str) -> Any:
    """Return a setting of the type that its field declares."""
    single = {name: value}
    if hint is bool:
        return flag(single, name)
    if hint is int:
        return integer(single, name)
    if hint is str:
        return text(single, name)
    if hint is float:
        return _number(value, name)
    if get_args(hint)[-1] is Ellipsis:
        return integers(single, name, MOST_SIDES)
    if get_args(hint)[0] is float:
        numbers = _floats(single, name)
        if len(numbers) != len(get_args(hint)):
            raise DamageError(f"`{name}` has not {len(get_args(hint))} numbers")
        return numbers
    setting = integers(single, name, len(get_args(hint)))
    if len(setting) != len(get_args(hint)):
        raise DamageError(f"`{name}` (={setting}) has not {len(get_args(hint))} numbers")
    return setting
