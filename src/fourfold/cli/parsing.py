"""A command with its arguments, or one sentence of what is wrong with them."""

import contextlib
import functools
import io
import itertools
import re
from collections.abc import Callable
from typing import Any

from fourfold.cli.options import Option, options_of
from fourfold.record.errors import UserError, nearest, suggesting

KINDS: dict[type, str] = {int: "an integer", float: "a number"}
"""What the parser refuses a value for not being."""


def parse(command: Callable[..., None], program: str, words: list[str]) -> Callable[[], None]:
    """Return the command with its arguments.

    Raises:
        UserError: the command has no such option, or the parser refuses a value.
    """
    import tyro

    @functools.wraps(command)
    def later(*positional: Any, **named: Any) -> Callable[[], None]:
        return functools.partial(command, *positional, **named)

    _check_no_empty(words)
    complaint = io.StringIO()
    style = (tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff)  # `--workers None` and `--no-dry-run` help no user
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: Callable[[], None] = tyro.cli(later, prog=program, args=words, config=style)
            return parsed
    except SystemExit as ending:
        if not ending.code:
            raise
        message = _first_sentence(complaint.getvalue())
        raise UserError(_explained(message, options_of(command), f"`{program} --help` describes all options")) from None


def _check_no_empty(words: list[str]) -> None:
    """Raise `UserError` for an option whose value is empty, such as a variable of a script that was never set."""
    for option, word in itertools.pairwise(["", *words]):
        if word == "" or (word.startswith("--") and word.endswith("=")):
            raise UserError(f"`{word.rstrip('=') or option or 'an argument'}` (='') must not be empty")


def _explained(message: str, options: list[Option], hint: str) -> str:
    """Return the sentence for what the parser refuses."""
    names = [option.name for option in options if not option.positional]
    if unrecognized := re.match(r"Unrecognized options: (\S+)", message):
        word = unrecognized[1].rstrip(",")
        if word.startswith("-"):
            word = word.partition("=")[0]
            return suggesting(f"unknown option {word}", nearest(word, names), hint)
        return f"unknown argument {word!r}: expected no more arguments; {hint}"
    if missing := re.match(r"Missing from .*?: (.*)", message):
        absent = [option.usage for option in options if option.required and option.name in missing[1]]
        if absent:
            return f"`{'`, `'.join(absent)}` must be given; {hint}"
    if alone := re.match(r"Missing value for argument '(\S+?)'", message):
        return f"`{alone[1]}` must be given a value; {hint}"
    if refused := re.match(r"Error parsing (\S+): (?:.*'(.*)')?", message):
        option = next((option for option in options if option.name == refused[1]), None)
        if option is not None and refused[2] is not None:
            return f"`{option.name}` (={refused[2]!r}) must be {KINDS.get(option.kind, option.metavar)}; {hint}"
    return f"{message}; {hint}"


def _first_sentence(box: str) -> str:
    """Return what the parser's framed message says between its title and its first rule."""
    lines = [line.strip("│╭╮╰╯|+ ") for line in box.strip().splitlines()[1:]]
    first = itertools.takewhile(_is_text, itertools.dropwhile(lambda line: not _is_text(line), lines))
    return " ".join(first).rstrip(".") or "wrong arguments"


def _is_text(line: str) -> bool:
    return line.strip("─-") != ""
