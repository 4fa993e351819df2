"""The live table on terminals: of 24 × 80 by a whole run, and of any size by its drawing."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_samples import make_row, make_run, make_spec
from rich.console import Console
from terminal_screen import HEIGHT, WIDTH, Screen, Terminal

import fourfold
from fourfold.cli.board import Board
from fourfold.cli.outlook import TRUSTED_SECONDS, Outlook, Turns
from fourfold.execution import Event, Job

REAL, QUATERNION = make_spec("real"), make_spec("quaternion")
ALGEBRAS = ("real", "complex", "quaternion", "octonion", "phm")


def lines_of(board, width, height):
    console = Console(record=True, force_terminal=True, width=width, height=height, file=io.StringIO())
    console.print(board)
    return [line.rstrip() for line in console.export_text().splitlines()]


def board_of(algebras, levels):
    specs = [make_spec(algebra) for algebra in algebras]
    rows = [make_row(spec, trial, level, 90 - level, 0.9**level) for spec in specs for trial in (0, 1) for level in levels]
    board = Board(specs, rows)
    for spec in specs:
        board.take(Event(kind="epoch", spec=spec, trial=0, level=len(levels), epoch=7, top1=81.25))
        for note in range(9):
            board.take(Event(kind="notice", spec=spec, trial=1, message=f"note {note} {'of many words ' * 9}"))
    return board


@pytest.mark.parametrize("height", [10, 24, 60])
@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("levels", [0, 1, 5, 50])
def test_what_is_drawn_fits_and_ends_with_the_newest_level_and_the_status(height, width, count, levels):
    lines = lines_of(board_of(ALGEBRAS[:count], range(levels)), width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    status = next(number for number, line in enumerate(lines) if re.match(r"\d+:\d\d · ", line))
    assert f"real trial 0: level {levels}, epoch 7 of 40" in " ".join(lines[status:])
    shown = [int(match[1]) for line in lines[:status] if (match := re.match(r" *(\d+) +[\d.]+", line))]
    assert shown == list(range(levels - len(shown), levels))
    assert bool(shown) is bool(levels)
    if len(shown) < levels and height > 10:
        assert f"0–{levels - len(shown) - 1}" in [line.strip() for line in lines]
    assert not any("…" in line for line in lines[:status] if re.match(r" *\d+ +[\d.]+", line))  # no number is cut off


def test_at_the_end_all_levels_are_shown():
    board = board_of(("real",), range(50))
    board.whole = True
    lines = lines_of(board, 80, 24)
    assert sum(bool(re.match(r" *\d+ +[\d.]+", line)) for line in lines) == 50


def job_of(out, **settings):
    return Job(specs=(REAL, QUATERNION), trials=2, out=out, **settings)


def test_after_a_resume_the_trials_at_work_are_shown_at_once(tmp_path):
    rows = make_run(tmp_path, "real", {0: 2}).rows(0)
    make_run(tmp_path, "quaternion", {1: 3})
    board = Board([REAL, QUATERNION], rows, Turns(job_of(tmp_path), 2))
    assert board.running == {(REAL.id, 0): "level 2", (QUATERNION.id, 0): "level 0"}
    board.take(Event(kind="finished", spec=REAL, trial=0))
    assert board.running == {(QUATERNION.id, 0): "level 0", (REAL.id, 1): "level 0"}  # the last one has finished before
    board.take(Event(kind="out-of-time", spec=REAL, trial=1))
    assert list(board.running) == [(QUATERNION.id, 0)]


class Now:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def outlook(now, workers=1, costs=(10.0, 10.0, 10.0), trials=1):
    return Outlook({REAL.id: costs}, {(REAL.id, trial): 0.0 for trial in range(trials)}, workers, now=now)


def row_event(level, trial=0):
    row = make_row(REAL, trial, level, 90, 1.0)
    return Event(kind="row", spec=REAL, trial=trial, level=level, row=row)


def test_time_left_is_that_of_the_plan_until_something_is_measured():
    now = Now()
    one = outlook(now)
    assert one.seconds == 30
    now.seconds = 4
    assert one.seconds == 26
    assert outlook(Now(), workers=2, trials=4).seconds == 60
    assert outlook(Now(), workers=9, trials=3).seconds == 30


@pytest.mark.parametrize("slowness", [0.25, 1, 4])
def test_time_left_follows_how_fast_the_run_is(slowness):
    now = Now()
    one = outlook(now, costs=(100.0,) * 10)
    for level in range(5):
        now.seconds += 100 * slowness
        one.take(row_event(level))
    measured = (500 * slowness + TRUSTED_SECONDS) / (500 + TRUSTED_SECONDS)
    assert one.seconds == pytest.approx(500 * measured)
    assert one.seconds == pytest.approx(500 * slowness, rel=0.1)
    one.take(Event(kind="finished", spec=REAL, trial=0))
    assert one.seconds is None


def test_epochs_are_a_part_of_a_level_and_levels_beyond_the_plan_are_not_foretold():
    now = Now()
    one = outlook(now)
    now.seconds = 5
    one.take(Event(kind="epoch", spec=REAL, trial=0, level=0, epoch=20))
    assert one.seconds == pytest.approx(25)
    now.seconds = 30
    for level in range(3):
        one.take(row_event(level))
    assert one.seconds is None


RUN = ("run", "digits", "--algebra", "real", "--trials", "1", "--max-level", "30", "--set", "stop.accuracy=0")


@pytest.mark.slow
def test_a_run_in_a_terminal_always_shows_its_status_and_newest_level(tmp_path, quick_plan):
    terminal = Terminal(*RUN, "--epochs", "1", "--workers", "0", folder=tmp_path)
    newest, first = -1, None
    for lines in terminal.screens():
        first = first or (lines[0] if lines else None)
        assert len(lines) <= HEIGHT
        assert max(map(len, lines), default=0) <= WIDTH
        status = [line for line in lines if re.match(r"\d+:\d\d · ", line)]
        levels = [int(line.split()[0]) for line in lines if re.match(r" *\d+ +[\d.]+ +[\d.]+", line)]
        if status and "ended" not in status[-1]:
            newest = max([newest, *levels])
            assert not levels or levels[-1] == newest
    assert first == "starting …"
    assert "measuring speed …" in terminal.output
    assert re.search(r"\d+:\d\d · about \d+ (s|min) left · real trial 0: level \d+", terminal.output)
    assert newest > HEIGHT - 5
    assert terminal.wait() == 0


def test_ctrl_c_in_a_terminal_ends_with_one_sentence(tmp_path, quick_plan):
    terminal = Terminal(*RUN, "--epochs", "10000", "--workers", "0", folder=tmp_path)
    for lines in terminal.screens():
        if any("level 0, epoch" in line for line in lines):
            break
    terminal.interrupt()
    assert terminal.wait() == 130
    assert "fourfold: stopped; all finished levels are on disk" in " ".join(terminal.screen.shown[-2:])


BACKGROUND = """
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts what stands before &
import fourfold.cli.signals
from fourfold.cli import main
from fourfold import execution
def run(*_, **__):
    os.kill(os.getpid(), int(sys.argv[1]))
    threading.Event().wait(60)
import fourfold.cli.status
fourfold.cli.status.find_runs = run
main(["status"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_in_the_background_is_stopped_by_signals(number, code, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(fourfold.__file__).parent.parent)}
    ended = subprocess.run(
        [sys.executable, "-c", BACKGROUND, str(int(number))], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr == "\nfourfold: stopped; all finished levels are on disk, the same command resumes\n"


def test_signals_are_as_before_after_a_command(here):
    from cli_samples import call

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    call("--version")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_screen_of_the_tests_obeys_what_rich_writes():
    screen = Screen()
    screen.write("one\ntwo\r\x1b[2K\x1b[1Anew\r\nx\x1b[Kyz")
    assert screen.shown == ["new", "xyz"]
    screen.write("\r\n" * 30 + "a" * 81)
    assert screen.shown[-2:] == ["a" * 80, "a"]
