"""The help of a command: how it is called, what it does, its arguments, and its options in panels."""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from fourfold.cli.choices import choices_of
from fourfold.cli.options import Option, description_of, options_of
from fourfold.cli.panels import panels_of

WIDEST = 100
"""Columns beyond which lines are hard to read."""

COLUMN = 24
"""Where texts begin; a longer option has a line of its own."""


def help_of(name: str, command: Callable[..., Any]) -> str:
    """Return the help of a command, as wide as the terminal and at most 100 columns."""
    width = min(WIDEST, max(40, shutil.get_terminal_size().columns))
    options = options_of(command)
    arguments = [option for option in options if option.positional]
    required = [option.usage for option in options if option.required and not option.positional]
    brackets = ["[options]"] if len(arguments) < len(options) else []
    usage = " ".join([name, *brackets, *required, *(argument.usage for argument in arguments)])
    lines = [f"{_bold('Usage:')} fourfold {usage}"]
    for paragraph in description_of(command):
        lines += ["", *_wrapped(paragraph, width)]
    panels = {"Arguments": arguments} if arguments else {}
    for title, members in (panels | panels_of(name, options)).items():
        lines += ["", _bold(f"{title}:")]
        for option in members:
            lines += _described(name, option, width)
    return "\n".join(lines) + "\n"


def _described(command: str, option: Option, width: int) -> list[str]:
    """Return the lines of an option: its name, and beside or below it what it is for."""
    text = _wrapped(_text_of(command, option), width - COLUMN)
    first = f"  {option.metavar if option.positional else option.usage}"
    beside = text.pop(0) if text and len(first) <= COLUMN - 2 else ""
    return [f"{first:{COLUMN}}{beside}".rstrip(), *(" " * COLUMN + line for line in text)]


def _text_of(command: str, option: Option) -> str:
    choices = choices_of(command, option.name)
    parts = [option.text, f"[{', '.join(choices)}]" if choices else ""]
    required = option.required and not option.positional  # of arguments, the usage says it
    parts += ["(required)" if required else f"(default: {option.default})" if option.default else ""]
    return " ".join(filter(None, parts))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def names_of(command: Callable[..., Any]) -> Iterable[str]:
    """Return the options that a command's help names."""
    return [option.name for option in options_of(command) if not option.positional]
