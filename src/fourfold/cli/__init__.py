"""The command line: one thin file a command, imported only when the command is given."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module

from fourfold.cli.signals import stoppable
from fourfold.cli.streams import prepare_streams, say, show_passing
from fourfold.record.errors import RankError, UserError, nearest, suggesting, unknown
from fourfold.record.launch import launched
from fourfold.record.text import sentence, shortened

__all__ = ["COMMANDS", "main"]

GROUPS: dict[str, dict[str, str]] = {
    "Experiments": {
        "run": "Train, prune and rewind, level by level. Resumes by itself.",
        "new": "Write a file for your own network, data and task.",
        "sweep": "Find the best settings for each algebra, by a grid or by Optuna.",
        "study": "Compare pruning units, budgets, starts, rates or algebras.",
        "presets": "List the experiments that `run` knows.",
    },
    "Results": {
        "status": "Show how far runs have come.",
        "report": "Write figures, tables and one HTML page.",
        "stability": "Measure whether other orders and trials find the same tickets.",
        "reproduce": "Redo a figure or a table of the papers.",
        "claims": "Judge the papers' claims by the rows there are.",
        "check": "Verify every file of a run; `--repair` trains lost ones again.",
        "pack": "Compress the rows of finished runs.",
    },
    "Deployment": {
        "export": "Write a ticket as an artifact, C, a web page, ONNX or for torch.",
        "predict": "Classify images with an artifact.",
        "bench deploy": "Measure an artifact beside onnxruntime and OpenVINO.",
    },
    "Tools": {
        "info": "Print a model's layers, weights and MACs in any algebra.",
        "data": "List, download, check or pack data sets.",
        "bench train": "Measure training beside a plain PyTorch loop.",
    },
}
"""Commands by what they are for, with a sentence for each."""

COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}

TRACEBACK = "--traceback"
"""Anywhere in a command: print where an error came from, such as the lines of the user's code that it passed through."""

HELP = ("-h", "--help", "help")
SHOW = "--show-completion"
COMPLETION = (SHOW, "--install-completion")

HEAR_SECONDS = 5
"""How long a rank keeps its mistake to itself: if rank 0 makes the same one and says so, the launcher ends all before."""

_HELP = """Usage: fourfold COMMAND [options]

Train, prune and deploy real, complex, quaternion and octonion networks.

{commands}

fourfold COMMAND --help                describes a command
fourfold COMMAND --traceback           shows where an error came from
fourfold --install-completion [SHELL]  completes commands in bash, zsh or fish
fourfold --show-completion [SHELL]     prints the script that does so
fourfold --version                     prints the version
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; end with exit code 2 and one sentence where the user can mend something."""
    try:
        _main(arguments)
    except SystemExit as ending:
        _leave_if_rank(ending.code)
        raise
    _leave_if_rank(0)


def _leave_if_rank(code: "str | int | None") -> None:
    """End a process that has communicated with other ranks at once: while Python ends, threads of gloo may abort it."""
    ranks = sys.modules.get("fourfold.train.ranks")
    if ranks and ranks.has_joined():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # its reader is gone, or it is closed
                stream.flush()
        os._exit(code if isinstance(code, int) else 0)


def _main(arguments: Sequence[str] | None) -> None:
    words = list(sys.argv[1:] if arguments is None else arguments)
    shows_traceback = TRACEBACK in words
    words = [word for word in words if word != TRACEBACK]
    prepare_streams()
    signals: list[int] = []
    try:
        with stoppable(signals):
            _run(words)
    except UserError as error:
        rank = 0 if isinstance(error, RankError) else _rank()
        if rank:
            time.sleep(HEAR_SECONDS)
        if shows_traceback:
            traceback.print_exception(error)
        say(f"fourfold: rank {rank}: {error.shown}" if rank else f"fourfold: {error.shown}", sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        if not _rank():
            say("\nfourfold: stopped; all finished levels are on disk, the same command resumes", sys.stderr)
        sys.exit(128 + signals[-1] if signals else 130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has had enough
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a disk or a folder that does not do what is asked of it
        where = "" if error.filename is None else f"{error.filename}: "
        say(f"fourfold: {shortened(sentence(f'{where}{error.strerror or error}'))}", sys.stderr)
        sys.exit(2)


def _run(words: list[str]) -> None:
    """Run a command, and write what it has printed while a reader that has gone can still be noticed."""
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
    if words and words[0] in HELP and " ".join(words[1:]) in COMMANDS:
        words = [*words[1:], "--help"]
    if not words or words[0] in HELP:
        print(_HELP.format(commands="\n\n".join(_described(title, group) for title, group in GROUPS.items())), end="")
        return
    if words[0] == "--version":
        from fourfold import __version__

        print(__version__)
        return
    if words[0] in COMPLETION:
        _complete(*words)
        return
    length = 2 if " ".join(words[:2]) in COMMANDS else 1
    name, rest = " ".join(words[:length]), words[length:]
    family = {each: text for each, text in COMMANDS.items() if each.startswith(f"{words[0]} ")}
    if name not in COMMANDS and family and (not rest or rest[0] in ("-h", "--help")):
        print(f"Usage: fourfold {name} COMMAND [options]\n\n{_described('Commands', family)}")
        return
    if name.startswith("-"):
        options = ["--help", "--version", *COMPLETION]
        hint = "options of a command stand after it; `fourfold --help` describes all"
        raise UserError(suggesting(f"unknown option {name}", nearest(name, options), hint))
    if name not in COMMANDS:
        raise unknown("command", " ".join(words[:2]) if family else name, COMMANDS, "`fourfold --help` describes all")
    if launched() and name != "run":
        raise UserError(f"`torchrun` cannot be combined with `fourfold {name}`, which runs in one process")
    if "-h" not in rest and "--help" not in rest:
        show_passing("starting …")
    command = import_module(f"fourfold.cli.{name.replace(' ', '_')}").command
    if "-h" in rest or "--help" in rest:
        from fourfold.cli.help import help_of

        print(help_of(name, command), end="")
        return
    from fourfold.cli.parsing import parse

    parse(command, f"fourfold {name}", rest)()


def _complete(flag: str, *words: str) -> None:
    """Print a shell's completion script, or write it to where the shell looks for it."""
    from fourfold.cli.completion import install, script_of, shell_of

    if len(words) > 1:
        raise UserError(f"`{flag}` (={' '.join(words)}) must be one shell")
    shell = shell_of(*words)
    say(script_of(shell, COMMANDS).rstrip() if flag == SHOW else "\n".join(install(shell, COMMANDS)))


def _described(title: str, commands: Mapping[str, str]) -> str:
    """Return a group of commands with a line for each."""
    width = max(map(len, COMMANDS))
    return "\n".join([f"{title}:", *(f"  {name:{width}}  {text}" for name, text in commands.items())])
