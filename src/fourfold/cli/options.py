"""What a command takes, read from its signature and docstring: for its help, for completion and for suggestions."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro

HIDDEN = "hidden"
"""Annotates what works and is not described, such as what earlier versions took."""

METAVARS = {int: "N", float: "X", Path: "PATH", str: "NAME"}
"""By type, for options that have no other."""

METAVARS_OF = {
    "address": "HOST:PORT",
    "budget": "TIME",
    "checkpoint": "WHEN",
    "control-levels": "LEVEL",
    "data": "DATA",
    "device": "DEVICE",
    "keep": "LEVEL",
    "level": "LEVEL",
    "levels": "LEVEL",
    "max-level": "LEVEL",
    "model": "MODEL",
    "steps": "STEP",
}
"""By option: what its value is."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """A positional argument or an option of a command."""

    name: str
    """`--out`; of a positional argument its metavar, such as PRESET."""
    metavar: str
    """What stands for its value; empty for a flag without one."""
    kind: type
    """Of its value, or of each of its values."""
    text: str
    """What it is for."""
    default: str
    """The value without it, as one writes it; empty where there is none, or where the text says it."""
    positional: bool
    many: bool
    """Whether it takes any number of values."""
    required: bool

    @property
    def usage(self) -> str:
        """How one writes it, such as `--out PATH` or `[RUN…]`."""
        if self.positional:
            return self.metavar if self.required else f"[{self.metavar}]"
        return f"{self.name} {self.metavar}".rstrip()


def options_of(command: Callable[..., Any]) -> list[Option]:
    """Return what a command takes, in the order of its signature, without what is hidden."""
    texts = _argument_texts(inspect.getdoc(command) or "")
    return list(_options(inspect.signature(command).parameters.values(), get_type_hints(command, include_extras=True), texts))


def description_of(command: Callable[..., Any]) -> list[str]:
    """Return the paragraphs of a command's docstring before its arguments."""
    text = (inspect.getdoc(command) or "").partition("\nArgs:\n")[0].strip()
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")] if text else []


def _options(parameters: Any, hints: dict[str, Any], texts: dict[str, str]) -> Iterator[Option]:
    for parameter in parameters:
        annotation = hints[parameter.name]
        kind, extras = _unwrapped(annotation)
        if is_dataclass(kind):
            assert isinstance(kind, type)
            inner = get_type_hints(kind, include_extras=True)
            named = [inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default) for f in fields(kind)]
            yield from _options(named, inner, _field_texts(kind))
        elif HIDDEN not in extras:
            yield _option(parameter, kind, extras, texts.get(parameter.name, ""))


def _option(parameter: inspect.Parameter, kind: Any, extras: list[Any], text: str) -> Option:
    configured = [extra for extra in extras if hasattr(extra, "metavar")]  # what `tyro.conf.arg` returns
    name = next((extra.name for extra in configured if extra.name), parameter.name.replace("_", "-"))
    metavar = next((extra.metavar for extra in configured if extra.metavar), None)
    says_default = all(extra.help_behavior_hint is None for extra in configured)
    repeated = tyro.conf.UseAppendAction in extras
    many = get_origin(kind) is tuple
    item = get_args(kind)[0] if many else kind
    if metavar is None:
        metavar = "" if item is bool else METAVARS_OF.get(name, METAVARS[item]) + ("…" if many else "")
    positional = tyro.conf.Positional in extras
    return Option(
        name=metavar.strip("…[]") if positional else f"--{name}",
        metavar=metavar,
        kind=item,
        text=text + (" May be repeated." if repeated else ""),
        default=_written(parameter.default) if says_default else "",
        positional=positional,
        many=many and not repeated,
        required=parameter.default is inspect.Parameter.empty,
    )


def _written(default: Any) -> str:
    """Return a default as one would write it on the command line."""
    if default is None or default is False or default is inspect.Parameter.empty:
        return ""
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    """Return a type without `Annotated` and `None`, and what was annotated."""
    extras: list[Any] = []
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            extras += more
        elif NoneType in (choices := get_args(annotation)) and len(choices) == 2:
            annotation = next(choice for choice in choices if choice is not NoneType)
        else:
            return annotation, extras


def _argument_texts(doc: str) -> dict[str, str]:
    """Return what a docstring says of each argument."""
    texts: dict[str, str] = {}
    name = ""
    for line in textwrap.dedent(doc.partition("\nArgs:\n")[2]).splitlines():
        if line[:1].strip():
            name, _, line = line.partition(":")
        texts[name] = f"{texts.get(name, '')} {line.strip()}".strip()
    return texts


def _field_texts(kind: type) -> dict[str, str]:
    """Return the string below each field of a dataclass."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                texts[name] = " ".join(words.split())
    return texts
