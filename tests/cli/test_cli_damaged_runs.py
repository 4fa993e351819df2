"""Whatever becomes of the files of a run, every command that reads it ends with 0, 1 or 2 and sentences, never a traceback.

A thousand damaged folders, with the report's figures (half an hour):

    FOURFOLD_SWEEP=1000 pytest tests/cli/test_cli_damaged_runs.py
"""

import contextlib
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from cli_samples import call, tiny_preset

from fourfold import lottery
from fourfold.lottery import Line
from fourfold.lottery._stability import run_stability
from fourfold.record import RunStore, UserError
from fourfold.report import read_runs
from fourfold.train import single_thread

SWEEP = int(os.environ.get("FOURFOLD_SWEEP", "24"))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> RunStore:
    """A run with a file of every kind."""
    spec = tiny_preset()
    run = RunStore.create(tmp_path_factory.mktemp("runs"), spec)
    experiment = lottery.Experiment.prepare(spec, None, torch.device("cpu"))
    with single_thread():
        for trial in (0, 1):
            lottery.run_trial(experiment, run, trial, keep=[1])
        lottery.run_controls(experiment, run, 0, ["inverted", "equal-macs"], [1])
        run_stability(experiment, run, 0, Line(levels=(1,), points=2), lambda row: None)
    run.save_overlaps(lottery.overlaps(run))
    run.fail(2, 0, "the loss became nan")
    run.save_state(0, 5, {"point/fc1.bias": run.weights(0, 1)["fc1.bias"]})
    assert {file.parent.name for file in run.path.rglob("*.safetensors")} == {"masks", "weights", "states"}
    return run


def flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 3])):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def replaced(content: bytes, draw: random.Random) -> bytes:
    text = draw.choice(
        [b"", b"\n", b"{}\n", b"[" * 10**5, b"null\n", b"\xff\xfe\x00\n", b'{"level":1e999}\n', content * 2, b"\0" * 999]
    )
    return text if draw.random() < 0.5 else content[: draw.randrange(len(content))] + text


def other_value(content: bytes, draw: random.Random) -> bytes:
    """Another value in JSON, where there is JSON."""
    values = [b"null", b"-1", b'"x"', b"[]", b"{}", b"1e400", b"NaN", b"10" * 400, b"0.5", b'"\\u001b[31m</script>"']
    places = [place for place, byte in enumerate(content) if byte == ord(":")]
    if not places:
        return flipped(content, draw)
    place = draw.choice(places) + 1
    end = min((found for mark in b",}]" if (found := content.find(mark, place)) > 0), default=len(content))
    return content[:place] + draw.choice(values) + content[end:]


def damage(folder: Path, draw: random.Random) -> str:
    """Damage a file of a run in one way or another, and say which."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(".lock"))
    file = draw.choice(files)
    how = draw.choice(["flipped", "flipped", "replaced", "other value", "removed", "another", "a folder", "a link to itself"])
    content = file.read_bytes() or b"x"
    file.unlink()
    if how == "another":
        shutil.copy(draw.choice([other for other in files if other != file]), file)
    elif how == "a folder":
        file.mkdir()
    elif how == "a link to itself":
        file.symlink_to(file)
    elif how != "removed":
        make = {"flipped": flipped, "replaced": replaced, "other value": other_value}[how]
        file.write_bytes(make(content, draw))
    return f"{file.relative_to(folder)}: {how}"


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
