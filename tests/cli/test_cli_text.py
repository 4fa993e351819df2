"""Whatever text leaves the program is shown as it is, on every terminal, and nothing in it is obeyed."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_samples import call, make_run, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table

import fourfold
from fourfold.cli import COMMANDS, printing, streams
from fourfold.record import RunStore, Spec, UserError
from fourfold.record.text import LONGEST, plain, shortened

NASTY = [
    "exp [v2]",
    "x[/y]",
    "[/]",
    "[bold]x[/bold]",
    ":smile:",
    "a\\[b]",
    "[link=file:///]x[/link]",
    "[red",
    "\\",
    "{x}",
    "%s",
]
TEXTS = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(NASTY)
ENCODINGS = ("utf-8", "latin-1", "ascii", "cp1252")


def printed(write, encoding="utf-8"):
    """What arrives on a standard output of an encoding."""
    content, before = io.BytesIO(), sys.stdout
    sys.stdout = io.TextIOWrapper(content, encoding=encoding, errors="strict", newline="")
    try:
        streams.prepare_streams()
        write()
        sys.stdout.flush()
        return content.getvalue().decode(encoding)
    finally:
        sys.stdout = before


def table_of(text):
    table = Table(box=None, title=text)
    table.add_column(text, no_wrap=True)
    table.add_row(text)
    return table


@settings(derandomize=True, deadline=None, max_examples=150)
@given(TEXTS, st.sampled_from(ENCODINGS))
def test_any_text_can_be_printed_anywhere_and_no_control_character_arrives(text, encoding):
    console = printing.make_console(400)

    def write():
        console.file = sys.stdout
        console.print(text)
        console.print(printing.titled(text, text))
        console.print(table_of(text))
        streams.say(text)

    arrived = printed(write, encoding)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", arrived.replace("\t", ""))


@pytest.mark.parametrize("text", NASTY)
def test_markup_is_printed_as_it_is(text):
    def write():
        console = printing.make_console(400)
        for each in (text, printing.titled(text), table_of(text)):
            console.print(each)

    assert printed(write).count(text) == 2 + 3  # a line, a title, and the title, column and cell of a table


def test_what_a_terminal_cannot_show_is_the_nearest():
    assert printed(lambda: streams.say("a → b, 8×8 ± 1 … “x” é 漢"), "ascii") == 'a -> b, 8x8 +- 1 ... "x" e \\u6f22\n'
    assert printed(lambda: streams.say("8×8 → é"), "latin-1") == "8×8 -> é\n"
    assert printed(lambda: streams.say("8×8 → é")) == "8×8 → é\n"


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(codec=None), max_size=60))
def test_a_sentence_is_one_line_without_control_characters(text):
    message = str(UserError(f"{text} must be another"))
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", message)
    assert message.endswith(" must be another")
    message.encode()


def test_text_is_kept_but_for_control_characters():
    assert plain("a [b] → ü\n\tc") == "a [b] → ü\n\tc"
    assert plain("\x1b[31mred\x07\x9b\u202e\ud800") == "\\x1b[31mred\\x07\\x9b\\u202e\\ud800"


@pytest.mark.parametrize("length", [0, 499, 500, 501, 10_000])
def test_long_texts_lose_their_middle(length):
    text = "".join(chr(97 + number % 26) for number in range(length))
    found = shortened(text)
    assert len(found) == min(length, LONGEST)
    assert found == text or (text.startswith(found[:300]) and text.endswith(found[-150:]))


def test_a_long_mistake_is_a_short_sentence(here):
    ended = call("run", "x" * 10_000)
    assert ended.code == 2
    assert ended.err.startswith("fourfold: unknown preset 'xxx")
    assert ended.err.endswith("`fourfold presets` describes them\n")
    assert len(ended.err) < 2000
    path = "y" * 200 + "/" + "z" * 200 + "/" + "w" * 200
    ended = call("status", path)
    assert (ended.code, len(ended.err)) == (2, LONGEST + len("fourfold: \n"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NASTY)
def test_paths_are_printed_as_they_are(name, here):
    (here / name.replace("/", "_")).mkdir()
    out = here / name.replace("/", "_")
    store = make_run(out, levels={0: 1})
    status = call("status", out)
    assert (status.code, status.err) == (0, "")
    report = call("report", store.path, "--out", out / "page")
    first = f"wrote {out / 'page' / 'index.html'}: 1 experiment, figures and tables beside it\n"
    assert report.out.startswith(first)
    missing = call("status", out / "[/nowhere]")
    assert missing.err == f"fourfold: there is no {out / '[/nowhere]'}; name a run's folder or one that holds runs\n"
    (out / "[x].bin").write_bytes(b"no artifact")
    assert "Traceback" not in call("predict", out / "[x].bin", out / "[/x].png").err


def test_what_a_run_says_of_itself_is_not_obeyed(here):
    store = make_run(here / "runs", levels={0: 1})
    store.fail(0, 1, "\x1b[31mred [bold]x[/bold] [/]")
    status = call("status", "runs")
    assert status.code == 0
    assert "\\x1b[31mred [bold]x[/bold] [/]" in status.out


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "\ud800", "\u202ecod"])
def test_a_name_that_cannot_be_printed_is_none(name):
    with pytest.raises(UserError, match=r"^`spec.preset` \(=.*\) must be a name$"):
        Spec(**{**vars(make_spec()), "preset": name})


SCRIPT = f"""
import contextlib, io, sys
from matplotlib.figure import Figure
from fourfold.cli import main
Figure.savefig = lambda figure, stream, **options: stream.write(b"drawn elsewhere")
commands = {list(COMMANDS)!r}
for words in [["--help"], *([*name.split(), "--help"] for name in commands), ["presets"], ["data"], ["study"], ["info"]]:
    with contextlib.suppress(SystemExit):
        main(words)
main(["run", "digits", "--trials", "1", "--epochs", "1", "--max-level", "0", "--algebra", "real", *sys.argv[1:]])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "environment", "workers"),
    [
        (["-OO"], {}, "0"),
        ([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "1"),
    ],
    ids=["without docstrings", "a C locale"],
)
def test_commands_run_without_docstrings_and_where_nothing_but_ascii_is_known(flags, environment, workers, tmp_path):
    environment = {**os.environ, **environment, "PYTHONPATH": str(Path(fourfold.__file__).parent.parent)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    words = ["--out", str(tmp_path / "é"), "--workers", workers]
    ended = subprocess.run([sys.executable, *flags, "-c", SCRIPT, *words], env=environment, capture_output=True)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert_all_said(ended.stdout.decode(), tmp_path)


def test_commands_run_on_an_ascii_terminal(tmp_path, quick_plan, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["-c", "--out", str(tmp_path / "é"), "--workers", "0"])
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", None)  # as the script sets it
    assert_all_said(printed(lambda: exec(SCRIPT, {}), "ascii"), tmp_path)
    assert capsys.readouterr().err == ""


def assert_all_said(said: str, folder: Path) -> None:
    assert "Paper 1, figure 4a." in said
    assert "trial 0 level 0" in said
    (store,) = (RunStore(path) for path in (folder / "é").glob("digits-real-*"))
    assert len(store.rows(0)) == 1


@pytest.mark.parametrize(
    "closed", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("<&-", ">&-", "2>&-")), "<&- >&- 2>&-"]
)
def test_streams_that_are_closed_show_nothing_and_end_no_command(closed, tmp_path):
    make_run(tmp_path, levels={0: 1})
    words = f"{sys.executable} -m fourfold"
    script = f"{words} status {tmp_path} {closed}; echo $?; {words} status {tmp_path / 'x'} {closed}; echo $?"
    ended = subprocess.run(script, shell=True, capture_output=True, text=True, env=os.environ)
    assert "Traceback" not in ended.stderr
    assert [line for line in ended.stdout.splitlines() if line in "0123"] == ["0", "2"]
    assert ("sample" in ended.stdout) == (">&-" not in closed.split())
