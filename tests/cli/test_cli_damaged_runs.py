"""Whatever becomes of the files of a run, every command that reads it ends with 0, 1 or 2 and sentences, never a traceback.

A thousand damaged folders, with the report's figures (half an hour):

    FOURFOLD_SWEEP=1000 pytest tests/cli/test_cli_damaged_runs.py

`fuzz_folders.py` tries the commands that only read, and repairs, on as many as one likes.
"""

import contextlib
import os
import random
import shutil
from pathlib import Path

import pytest
from cli_samples import call, tiny_preset

from folder_damage import damage, make_run
from fourfold.record import RunStore, UserError
from fourfold.report import read_runs
from fuzz_folders import fuzz

SWEEP = int(os.environ.get("FOURFOLD_SWEEP", "24"))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> RunStore:
    """A run with a file of every kind."""
    return make_run(tmp_path_factory.mktemp("runs"), tiny_preset())


def commands(run: Path, out: Path) -> list[list[object]]:
    found: list[list[object]] = [
        ["status", run.parent],
        ["check", run.parent],
        ["export", run, "--level", 1, "--out", out / "it.safetensors"],
        ["stability", run, "--levels", 1, "--steps", 99999],
    ]
    return found + ([["report", run.parent, "--out", out / "report"]] if SWEEP > 24 else [])


@pytest.mark.slow
def test_every_command_ends_in_sentences(store, tmp_path):
    for seed in range(SWEEP):
        draw = random.Random(seed)
        run = Path(shutil.copytree(store.path, tmp_path / str(seed) / store.path.name))
        told = [damage(run, draw) for _ in range(draw.choice([1, 1, 2, 5]))]
        for words in commands(run, tmp_path / str(seed)):
            ended = call(*words)  # which raises what is no sentence
            assert ended.code in (0, 1, 2), (seed, told, words)
            assert all(line.startswith("fourfold: ") for line in ended.err.splitlines()), (seed, told, words, ended.err)
            assert "\x1b" not in ended.out + ended.err
            assert len(ended.err) < 20_000
        with contextlib.suppress(UserError):
            read_runs([run.parent])
        shutil.rmtree(run.parent)


@pytest.mark.slow
def test_what_reads_or_repairs_a_damaged_folder_takes_bounded_time_and_memory(store, tmp_path):
    counts, failures = fuzz(store, tmp_path, 0, range(60))
    assert failures == []
    assert counts["check 1"] > 20


def test_a_command_that_fails_is_noticed(store, tmp_path, monkeypatch):
    monkeypatch.setattr("fourfold.cli.main", lambda words: {}["x"])
    _, failures = fuzz(store, tmp_path, 0, range(1))
    assert len(failures) == 1
    assert "KeyError" in failures[0]
