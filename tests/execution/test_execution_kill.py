"""kill -9 at twenty moments, and again and again: the same call goes on, and no bit of any row is different.

The process that dies is forked from this one, because it would otherwise spend its seconds importing torch and could
hardly be hit while it writes. Where a moment is *inside* a write, the kernel ends the process there: its files may not
grow beyond a size in the middle of what it is writing (RLIMIT_FSIZE, with SIGXFSZ back at its default action, which is
death), so that exactly the first part is on disk. At the other moments it sends itself SIGKILL, or gets it from
outside after a random time. Real commands, killed with their workers alive, are in `test_execution_kill_command.py`.
"""

import contextlib
import os
import random
import resource
import signal
import time
import traceback
from pathlib import Path

import pytest

from fourfold import lottery
from fourfold.record import RunStore
from fourfold.train import evaluate
from lottery_samples import BOTH, files, prepared, results, serve, tiny_spec

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    # Python ≥ 3.12 warns of a fork beside other threads; ours are none that the child would wait for.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

EPOCHS = 2
NUM_LEVELS = 5
KEEP = range(NUM_LEVELS)


def spec_of(algebra):
    return tiny_spec(algebra, levels=NUM_LEVELS, epochs=EPOCHS)


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def die_beyond(size):
    """Let the kernel end this process when a file of its grows beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def prepare_to_die(moment, level, part):
    """Change this process so that it dies at a moment of a level; return what receives its events."""
    append, save_mask, save_weights, rename = RunStore.append, RunStore.save_mask, RunStore.save_weights, Path.replace

    def send(kind, **content):
        if (moment, kind) == ("training", "epoch") and content["level"] == level:
            die()
        if (moment, kind) == ("row written", "row") and f'"level":{level},' in content["line"]:
            die()

    def append_or_die(run, row):
        if moment == "between mask and row" and row.level == level:
            die()
        if moment == "half a row" and row.level == level:
            file = run.path / f"rows-{row.trial}.jsonl"
            whole = file.read_bytes().rfind(b"\n") + 1 if file.exists() else 0
            die_beyond(whole + max(1, int(part * len(row.to_line()))))
        append(run, row)

    def save_mask_or_die(run, trial, successor, masks):
        if moment == "half a mask" and successor == level + 1:
            die_beyond(1 + int(part * 200))
        save_mask(run, trial, successor, masks)

    def save_weights_or_die(run, trial, of_level, arrays):
        if moment == "half the weights" and of_level == level:
            die_beyond(1 + int(part * 300))
        save_weights(run, trial, of_level, arrays)

    def rename_or_die(file, new):
        if moment == "mask without its name" and (new.parent.name, new.stem) == ("masks", f"0-{level + 1}"):
            die()
        if moment == "spec without its name" and new.name == "spec.json":
            die()
        return rename(file, new)

    RunStore.append, RunStore.save_mask, RunStore.save_weights = append_or_die, save_mask_or_die, save_weights_or_die
    Path.replace = rename_or_die
    if moment == "half a spec":
        die_beyond(1 + int(part * 500))
    return send


def run_and_die(out, algebra, moment, level, part):
    """Run trial 0 in a forked process that is killed at a moment."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            try:
                serve(spec_of(algebra), out, send=prepare_to_die(moment, level, part), keep=KEEP)
                if moment == "any time":
                    time.sleep(60)  # done already: it is killed all the same
            except BaseException:
                traceback.print_exc()
        os._exit(1)
    if moment == "any time":
        time.sleep(part)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the process was not killed while {moment} of level {level}"
    assert os.WTERMSIG(status) == (signal.SIGXFSZ if moment.startswith("half") else signal.SIGKILL)


def check_what_is_left(out, complete):
    """Every row on disk is a row of the complete trial, and every mask is one of its masks."""
    left = RunStore(out / complete.path.name)
    rows = results(left.rows(0))
    assert rows == results(complete.rows(0))[: len(rows)]
    masks = left.path / "masks"
    names = [file.name for file in masks.iterdir() if not file.name.startswith(".")] if masks.exists() else []
    for name in names:
        assert (masks / name).read_bytes() == (complete.path / "masks" / name).read_bytes()
    assert len(rows) <= len(names) <= len(rows) + 1
    return rows


def check_complete(out, complete):
    whole = RunStore(out / complete.path.name)
    assert results(whole.rows(0)) == results(complete.rows(0))
    lines = (whole.path / "rows-0.jsonl").read_bytes().split(b"\n")
    assert len(lines) == NUM_LEVELS + 1
    assert lines[-1] == b""
    for name, content in files(complete.path / "masks").items():
        assert (whole.path / "masks" / name).read_bytes() == content
    for level in KEEP:
        network = lottery.load_trained(whole, 0, level)
        top1 = evaluate(network, prepared(whole.spec()).splits.test).top1
        assert top1 == complete.rows(0)[level].top1


def moments():
    """Twenty of them, drawn once."""
    generator = random.Random(20)
    kinds = ["any time"] * 4 + ["half a row"] * 4 + ["half a mask"] * 4 + ["training"] * 3 + ["between mask and row"] * 2
    kinds += ["row written", "mask without its name", "half the weights"]
    for kind in kinds:
        level = generator.randrange(NUM_LEVELS)
        part = generator.uniform(0, 0.3) if kind == "any time" else generator.random()
        yield generator.choice(BOTH), kind, level, round(part, 3)


@pytest.mark.parametrize(("algebra", "moment", "level", "part"), list(moments()))
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(algebra, moment, level, part, tmp_path, alone):
    complete = alone(spec_of(algebra))
    run_and_die(tmp_path, algebra, moment, level, part)
    left = check_what_is_left(tmp_path, complete)
    if moment != "any time":
        assert len(left) == level + (moment == "row written")
    serve(spec_of(algebra), tmp_path, keep=KEEP)
    check_complete(tmp_path, complete)


@pytest.mark.slow
@pytest.mark.parametrize("algebra", BOTH)
def test_a_run_that_is_killed_again_and_again_still_ends_with_the_same_rows(algebra, tmp_path, alone):
    complete = alone(spec_of(algebra))
    deaths = [
        ("half a spec", 0, 0.5),
        ("spec without its name", 0, 0),
        ("training", 0, 0),
        ("half a mask", 0, 0.9),
        ("half a row", 0, 0.9),
        ("half a row", 0, 0.1),
        ("row written", 0, 0),
        ("between mask and row", 1, 0),
        ("mask without its name", 1, 0),
        ("half the weights", 2, 0.5),
        ("half a row", 2, 0.5),
        ("half a mask", 2, 0.1),
        ("training", 4, 0),
        ("half a row", 4, 0.99),
    ]
    for death in deaths:
        run_and_die(tmp_path, algebra, *death)
        check_what_is_left(tmp_path, complete)
    serve(spec_of(algebra), tmp_path, keep=KEEP)
    check_complete(tmp_path, complete)


def test_the_trials_lock_dies_with_the_process(tmp_path):
    run_and_die(tmp_path, "real", "training", 1, 0)
    run = RunStore(tmp_path / spec_of("real").id)
    assert not run.locked("trial-0")
