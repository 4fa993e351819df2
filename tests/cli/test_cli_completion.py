"""Completion, by the shells themselves: bash runs the script; zsh and fish where they are installed read it."""

import shutil
import subprocess

import pytest
from cli_samples import call

from fourfold import data, models, presets
from fourfold.cli import COMMANDS, choices
from fourfold.cli.completion import OF_ALL, OF_NONE, SHELLS, script_of, values_of
from fourfold.data.named import READERS

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="bash is not installed")

DRIVER = r"""
source "$1"
complete -p fourfold > /dev/null || exit 1
while IFS= read -r line; do
  COMP_WORDS=(fourfold) COMPREPLY=()
  while [ -n "$line" ]; do COMP_WORDS+=("${line%%$'\t'*}"); line="${line#*$'\t'}"; done
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  [ "${COMP_WORDS[COMP_CWORD]}" = "<>" ] && COMP_WORDS[COMP_CWORD]=
  _fourfold
  echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """What bash completes of several command lines; `<>` is a cursor after a space."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "fourfold.bash").write_text(script_of("bash", COMMANDS))
    (folder / "driver.bash").write_text(DRIVER)
    (folder / "roads.py").touch()

    def run(*lines):
        text = "".join("".join(f"{word}\t" for word in line.split()) + "\n" for line in lines)
        ended = subprocess.run(
            [BASH, "--norc", "driver.bash", "./fourfold.bash"], input=text, capture_output=True, text=True, cwd=folder
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        return [line.split() for line in ended.stdout.splitlines()]

    return run


def test_bash_completes_commands(complete):
    first = list(dict.fromkeys(name.split()[0] for name in COMMANDS))
    assert complete("<>", "s", "bench <>", "bench t", "--") == [
        [*first, *OF_NONE],
        ["sweep", "study", "status", "stability"],
        ["deploy", "train"],
        ["train"],
        list(OF_NONE),
    ]


def test_bash_completes_every_option_with_its_choices(complete):
    values = [(name, value) for name in COMMANDS for value in values_of(name)]
    options = complete(*(f"{name} --" for name in COMMANDS))
    for name, offered in zip(COMMANDS, options, strict=True):
        assert offered == [value.key.split()[-1] for value in values_of(name) if "--" in value.key]
        assert set(OF_ALL) <= set(offered)
    known = [(name, value) for name, value in values if value.words]
    assert len(known) > 40
    for (_, value), offered in zip(known, complete(*(_before(name, value) for name, value in known)), strict=True):
        assert offered == list(value.words), value.key


def _before(name, value):
    """A command line whose cursor is at a value."""
    word = value.key.removeprefix(f"{name} ")
    return f"{name} {'x ' * int(word)}<>" if word.isdigit() else f"{name} {word} <>"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("run conv4-cifar10 --algebra real q", ["quaternion"]),
        ("run --algebra = q", ["quaternion"]),
        ("run --trials 3 lenet-12-mnist-", ["lenet-12-mnist-early-stopping"]),
        ("run --dry-run dig", ["digits", "digits-conv2", "digits-resnet8"]),
        ("run roa", ["roads.py"]),
        ("run --trials <>", []),
        ("check --repair r", ["roads.py"]),
        ("report a b r", ["roads.py"]),
        ("info resnet-1", ["resnet-18", "resnet-101", "resnet-152"]),
        ("data get japan", ["japanese-vowels"]),
        ("rnu <>", []),
    ],
)
def test_bash_completes_the_word_at_the_cursor(complete, line, offered):
    assert complete(line)[0] == offered if offered else complete(line) in ([[]], [])


def test_bash_completes_options_after_the_last_argument(complete):
    assert complete("run digits <>") == complete("run --")


def test_names_are_those_of_the_tables():
    assert choices.completions_of("data", "NAME") == [*data.DATASETS, *READERS]
    assert choices.completions_of("info", "MODEL") == list(models.MODELS)
    assert set(choices.completions_of("run", "PRESET")) >= {*presets.PRESETS, "classify"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_shown_and_installed(shell, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    script = call("--show-completion", shell).out
    assert call("--show-completion").out == script
    ended = call("--install-completion")
    assert (ended.code, ended.err) == (0, "")
    path = here / ended.out.removeprefix(f"wrote {here}/").partition(";")[0]
    assert path.read_text() == script
    if program := shutil.which(shell):
        assert subprocess.run([program, "-n", str(path)], capture_output=True).stderr == b""


def test_the_script_knows_every_command_in_every_shell():
    for shell in SHELLS:
        script = script_of(shell, COMMANDS)
        assert all(name in script for name in COMMANDS)
        assert "early-stopping" in script


@pytest.mark.parametrize("words", [("tcsh",), ("bash", "zsh")])
def test_other_shells_are_refused(words, here):
    ended = call("--install-completion", *words)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert list(here.iterdir()) == []
