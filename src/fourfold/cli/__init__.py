"""The command line: one thin file a command, imported only when the command is given."""

import contextlib
import functools
import io
import itertools
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from fourfold.cli.streams import prepare_streams, say
from fourfold.record.errors import RankError, UserError
from fourfold.record.launch import launched
from fourfold.record.text import sentence, shortened

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "run": "train, prune and rewind: real against quaternion, level after level; the same command resumes",
    "new": "write an experiment of your own: a file with a network, data and a task to replace",
    "sweep": "the best settings for each algebra, by a grid or an Optuna study with equal budgets",
    "status": "how far runs have come",
    "check": "is every file of a run what was written? `--repair` makes again what training can make",
    "stability": "do other orders of images find the same valley, and other trials the same masks?",
    "report": "turn runs into figures, tables and one HTML page",
    "reproduce": "the papers' figures and tables by name, smaller versions of them, and their claims judged by rows",
    "study": "questions beyond the papers, asked of any preset: units, budgets, starts, learning rates, algebras",
    "export": "a trained level as a small artifact, C, ONNX or a state dict",
    "predict": "classify images with an artifact",
    "info": "a model's layers, weights and MACs, in any algebra; the papers' tables",
    "data": "list, download, check or pack data sets",
    "presets": "the experiments that `run` knows",
    "bench train": "images a second and seconds a level, beside a plain loop and the processor's limits",
    "bench deploy": "an artifact's speed and size beside onnxruntime and OpenVINO",
}

TRACEBACK = "--traceback"
"""Anywhere in a command: print where an error came from, such as the lines of the user's code that it passed through."""

HEAR_SECONDS = 5
"""How long a rank keeps its mistake to itself: if rank 0 makes the same one and says so, the launcher ends all before."""

_HELP = """usage: fourfold COMMAND [options]

Neural networks at a fraction of their size: quaternion layers, lottery tickets.

commands:
{commands}

fourfold COMMAND --help    describes a command
fourfold --version         prints the version
fourfold COMMAND --traceback   shows where an error came from
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; end with exit code 2 and one sentence where the user can mend something."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    shows_traceback = TRACEBACK in words
    words = [word for word in words if word != TRACEBACK]
    prepare_streams()
    try:
        _run(words)
    except UserError as error:
        rank = 0 if isinstance(error, RankError) else _rank()
        if rank:
            time.sleep(HEAR_SECONDS)
        if shows_traceback:
            traceback.print_exception(error)
        told = error.shown
        say(f"fourfold: rank {rank}: {told}" if rank else f"fourfold: {told}", sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        if not _rank():
            say("\nfourfold: stopped; all finished levels are on disk, the same command resumes", sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has had enough
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a disk or a folder that does not do what is asked of it
        where = "" if error.filename is None else f"{error.filename}: "
        say(f"fourfold: {shortened(sentence(f'{where}{error.strerror or error}'))}", sys.stderr)
        sys.exit(2)


def _run(words: list[str]) -> None:
    """Run a command, and write what it has printed while somebody can still see that nobody reads it."""
    try:
        _dispatch(words)
    except SystemExit:  # --help ends so, too
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def _rank() -> int:
    """Return this process's number among those that a launcher started; 0 for one alone."""
    try:
        launch = launched()
    except UserError:
        return 0
    return launch.rank if launch else 0


def _dispatch(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print(_HELP.format(commands="\n".join(f"  {name:{width}}  {text}" for name, text in COMMANDS.items())), end="")
        return
    if words[0] == "--version":
        from fourfold import __version__

        print(__version__)
        return
    length = 2 if " ".join(words[:2]) in COMMANDS else 1
    name, rest = " ".join(words[:length]), words[length:]
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}; known: {', '.join(COMMANDS)}; `fourfold --help` describes them")
    if launched() and name != "run":
        raise UserError(f"`fourfold {name}` runs in one process: start it without torchrun")
    _check_no_empty(rest)
    command = import_module(f"fourfold.cli.{name.replace(' ', '_')}").command
    _parse(command, f"fourfold {name}", rest)()


def _check_no_empty(words: list[str]) -> None:
    """Raise `UserError` for an option whose value is empty, such as a variable of a script that was never set."""
    for option, word in itertools.pairwise(["", *words]):
        if word == "" or (word.startswith("--") and word.endswith("=")):
            raise UserError(f"`{word.rstrip('=') or option or 'an argument'}` (='') must not be empty")


def _parse(command: Callable[..., None], program: str, words: list[str]) -> Callable[[], None]:
    """Return the command with its arguments; what the parser has against them becomes one sentence."""
    import tyro

    @functools.wraps(command)
    def later(*positional: Any, **named: Any) -> Callable[[], None]:
        return functools.partial(command, *positional, **named)

    complaint = io.StringIO()
    style = (tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff)  # `--workers None` and `--no-dry-run` help nobody
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: Callable[[], None] = tyro.cli(later, prog=program, args=words, config=style)
            return parsed
    except SystemExit as ending:
        if not ending.code:
            raise
        raise UserError(f"{_first_sentence(complaint.getvalue())}; `{program} --help` describes all arguments") from None


def _first_sentence(box: str) -> str:
    """Return what the parser's framed complaint says between its title and its first rule."""
    lines = [line.strip("│╭╮╰╯|+ ") for line in box.strip().splitlines()[1:]]
    said = itertools.takewhile(_is_text, itertools.dropwhile(lambda line: not _is_text(line), lines))
    return " ".join(said).rstrip(".") or "wrong arguments"


def _is_text(line: str) -> bool:
    return line.strip("─-") != ""
