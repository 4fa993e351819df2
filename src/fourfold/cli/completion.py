"""Shell completion: a script for bash, zsh or fish that knows all commands, options and names, and starts no Python for them.

Names that installed packages add are those of the moment at which the script was written; `--install-completion` again brings
it up to date.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path

from fourfold.cli.choices import completions_of
from fourfold.cli.options import Option, options_of
from fourfold.record.errors import UserError, unknown
from fourfold.record.files import write_atomically

SHELLS = ("bash", "zsh", "fish")

OF_ALL = ("--help", "--traceback")
"""Options that every command has."""

OF_NONE = ("--help", "--version", "--install-completion", "--show-completion")
"""Options without a command."""

FILES = (
    "PATH",
    "RUN",
    "FILE",
    "ARTIFACT",
    "IMAGE",
    "PRESET",
    "DATA",
    "MODEL",
    "--base",
    "--task",
    "reproduce NAME",
    "data NAME",
)
"""What takes files, beside names: metavars, and options and arguments by name."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value that completion knows: of an option, or of an argument by its place."""

    key: str
    """Such as `run --out`, or `run 0` for its first argument."""
    words: tuple[str, ...]
    takes_files: bool
    count: int
    """How many values there may be; 0 for a flag."""


MANY = 999
"""More values than a command line has."""


def script_of(shell: str, commands: Mapping[str, str]) -> str:
    """Return the completion script of a shell for commands with their descriptions."""
    values = {name: values_of(name) for name in commands}
    if shell == "fish":
        return _fish(commands, values)
    functions = _functions(commands, values)
    ending = (files("fourfold.cli") / "templates" / f"completion.{shell}.txt").read_text(encoding="utf-8")
    first = "#compdef fourfold\n" if shell == "zsh" else ""
    return f"{first}# Completion of fourfold's commands, written by `fourfold --show-completion {shell}`.\n{functions}{ending}"


def install(shell: str, commands: Mapping[str, str]) -> list[str]:
    """Write the script to where the shell looks for it, and return lines that say where, and what else it takes.

    Raises:
        UserError: the file cannot be written.
    """
    path, *advice = _place(shell)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), script_of(shell, commands).encode())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); `--show-completion` prints the script") from error
    return [f"wrote {path}; a new {shell} completes fourfold's commands", *advice]


def shell_of(name: str | None = None) -> str:
    """Return a shell that was named, or the user's.

    Raises:
        UserError: it is not one that completion is for.
    """
    shell = name or Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise unknown("shell", shell, SHELLS, "name one, as in `fourfold --install-completion bash`")
    return shell


def values_of(command: str) -> list[Value]:
    """Return the options and arguments of a command with the values that completion offers for them."""
    options = options_of(import_module(f"fourfold.cli.{command.replace(' ', '_')}").command)
    arguments = [option for option in options if option.positional]
    flags = [Value(key=f"{command} {name}", words=(), takes_files=False, count=0) for name in OF_ALL]
    named = [_value(command, option.name, option) for option in options if not option.positional]
    return [*named, *flags, *(_value(command, str(place), argument) for place, argument in enumerate(arguments))]


def _value(command: str, name: str, option: Option) -> Value:
    metavar = option.metavar.strip("…[]")
    return Value(
        key=f"{command} {name}",
        words=tuple(completions_of(command, option.name)),
        takes_files=not {metavar, option.name, f"{command} {option.name}"}.isdisjoint(FILES),
        count=MANY if option.many else int(bool(option.metavar)),
    )


def _place(shell: str) -> list[str]:
    """Return where a shell looks for completion scripts, and lines that say what else it takes."""
    home = Path.home()
    if shell == "fish":
        return [str(_folder("XDG_CONFIG_HOME", home / ".config") / "fish" / "completions" / "fourfold.fish")]
    if shell == "zsh":
        path = home / ".zfunc" / "_fourfold"
        return [str(path), "~/.zshrc must have, once: fpath+=~/.zfunc; autoload -Uz compinit; compinit"]
    path = _folder("XDG_DATA_HOME", home / ".local" / "share") / "bash-completion" / "completions" / "fourfold"
    return [str(path), f"without the package bash-completion, ~/.bashrc must have: source {path}"]


def _folder(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default)


def _functions(commands: Mapping[str, str], values: Mapping[str, list[Value]]) -> str:
    """Return the functions that bash and zsh share, for any shell of POSIX."""
    first = list(dict.fromkeys(name.split()[0] for name in commands))
    families = {name.split()[0] for name in commands if " " in name}
    lines = ["_fourfold_value() {", "  candidates= takes_files= count=0", '  case "$1" in']
    lines.append(f"    '') candidates='{' '.join((*first, *OF_NONE))}' ;;")
    for family in sorted(families):
        members = [name.split()[1] for name in commands if name.startswith(f"{family} ")]
        lines.append(f"    '{family}') candidates='{' '.join(members)}' ;;")
    for name, known in values.items():
        options = [value.key.rpartition(" ")[2] for value in known if "--" in value.key]
        lines.append(f"    '{name}') candidates='{' '.join(options)}' ;;")
        for value in known:
            settings = [f"count={value.count}"]
            settings += [f"candidates='{' '.join(value.words)}'"] if value.words else []
            settings += ["takes_files=1"] if value.takes_files else []
            lines.append(f"    '{value.key}') {' '.join(settings)} ;;")
    lines += ["  esac", "}"]
    shared = (files("fourfold.cli") / "templates" / "completion.sh.txt").read_text(encoding="utf-8")
    return "\n".join(lines) + "\n" + shared.replace("FAMILIES", "|".join(sorted(families)))


def _fish(commands: Mapping[str, str], values: Mapping[str, list[Value]]) -> str:
    lines = [(files("fourfold.cli") / "templates" / "completion.fish.txt").read_text(encoding="utf-8").rstrip()]
    for name, text in commands.items():
        *family, last = name.split()
        lines.append(f"complete -c fourfold -n '{' '.join(['__fourfold_is', *family])}' -f -a {last} -d '{_quoted(text)}'")
        lines += [f"complete -c fourfold -n __fourfold_is -f -a {family[0]}"] if family else []
    lines += [f"complete -c fourfold -n __fourfold_is -f -l {name.strip('-')}" for name in OF_NONE]
    for name, known in values.items():
        lines += [
            f"complete -c fourfold -n '__fourfold_in {name}' {settings}" for value in known if (settings := _of_fish(value))
        ]
    return "\n".join(dict.fromkeys(lines)) + "\n"


def _of_fish(value: Value) -> str:
    """Return the settings of a value in fish: the option's name, whether it takes a value, and whether that may be a file."""
    word = value.key.rpartition(" ")[2]
    words = [f"-a '{' '.join(value.words)}'"] if value.words else []
    if not word.startswith("--"):
        return " ".join([*([] if value.takes_files else ["-f"]), *words])
    takes = [] if value.count == 0 else ["-r"] if value.takes_files else ["-x"]
    return " ".join([f"-l {word.strip('-')}", *takes, *words])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
