"""Commands that train an experiment of the user's own are killed; the same command gives the rows of one that was not.

Two of them in CI, and all with `FOURFOLD_SWEEP=1`.
"""

import os
import subprocess
import sys
from pathlib import Path

import own_experiment
import pytest
from cli_samples import call, draw_nothing

from forked_commands import ForkedCommand
from fourfold.record import find_runs
from processes import is_alive, wait_until

COMMANDS = {
    "run": ("run", "own.py", "--trials", 2, "--workers", 1, "--controls", "random-init", "--keep", 1),
    "sweep": ("sweep", "own.py", "--set", "train.learning_rate=1e-3,1e-2", "--trials", 1, "--workers", 1),
    "study": ("study", "starts", "--base", "own.py", "--trials", 1, "--workers", 1),
    "reproduce": ("reproduce", "own.py", "--scale", 0.5, "--workers", 1),
    "stability": ("stability", "runs", "--code", "own.py", "--points", 3, "--workers", 1),
}
CHOSEN = COMMANDS if "FOURFOLD_SWEEP" in os.environ else ("run", "stability")


@pytest.fixture
def own(here, quick_plan, monkeypatch):
    """An experiment in the current folder."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    own_experiment.write(here, "file")
    return here


def lines_of(out):
    """All that was measured, by its place, without when and where."""
    found = {}
    for store in find_runs(out):
        for trial in store.trials():
            found |= {(row.run, "ticket", row.trial, row.level): row.result() for row in store.rows(trial)}
            found |= {(row.run, "line", trial, row.level): row.connectivity for row in store.connectivity(trial)}
        for trial, control in store.controls():
            rows = store.control_rows(trial, control)
            found |= {(row.run, control, row.trial, row.level): row.result() for row in rows}
    return found


def start_and_kill(words):
    """Start a command with a worker, and kill both when the first line is on disk."""
    before = count_lines()
    command = ForkedCommand(words, Path("command"), 1, draw_nothing)
    try:
        wait_until(lambda: count_lines() > before or not is_alive(command.pid), "a line is on disk")
    finally:
        command.kill()
    command.wait()
    command.wait_for_workers()


def count_lines():
    files = [*Path("runs").glob("*/rows-*.jsonl"), *Path("runs").glob("*/connectivity-*.jsonl")]
    return sum(file.read_bytes().count(b"\n") for file in files)


@pytest.mark.slow
@pytest.mark.parametrize("command", CHOSEN)
def test_a_command_that_is_killed_goes_on_with_the_same_rows(own, command):
    words = COMMANDS[command]
    if command == "stability":
        assert call("run", "own.py", "--trials", 2, "--workers", 0).code == 0
        Path("runs").rename("before")
        subprocess.run(["cp", "-r", "before", "runs"], check=True)
    ended = call(*words)
    assert ended.code == 0, ended.err
    whole = lines_of(Path("runs"))
    assert len(whole) >= 4
    Path("runs").rename("whole")
    if command == "stability":
        Path("before").rename("runs")
    start_and_kill(words)
    assert len(lines_of(Path("runs"))) < len(whole)
    resumed = call(*words)
    assert resumed.code == 0, resumed.err
    assert lines_of(Path("runs")) == whole
