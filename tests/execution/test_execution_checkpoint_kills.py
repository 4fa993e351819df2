"""kill -9 at random moments inside levels: the rows are those of a run that nobody killed, and hardly any work is lost.

`FOURFOLD_KILLS=25` kills every kind of experiment that often, in levels of seconds (`-s` shows what each kill cost); without it
levels are short and kills are few.
"""

import itertools
import mmap
import os
import random
import signal
import statistics
import struct
import time
import traceback
from dataclasses import replace

import pytest

from checkpoint_samples import run, specs
from fourfold.record import RunStore
from lottery_samples import prepared, results, serve

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

KILLS = int(os.environ.get("FOURFOLD_KILLS", "2"))
LONG = "FOURFOLD_KILLS" in os.environ
EPOCHS = {"convolutions": 12, "bf16": 12, "batch norm": 12, "early stopping": 1000, "gradual": 200, "rewound to an epoch": 1000}
EVERY_SECONDS = 0.25 if LONG else 0.02
"""Between checkpoints."""


def spec_of(name: str):
    spec = specs()[name]
    if not LONG:
        return spec
    train = replace(spec.train, epochs=EPOCHS[name])
    if train.early_stopping:
        train = replace(train, learning_rate=1e-3, early_stopping=replace(train.early_stopping, patience=10_000))
    return replace(spec, train=train)


def run_and_die(spec, out, seconds: float) -> float | None:
    """Run trial 0 in a process that is killed after some seconds; return the seconds of work lost, None if it has ended."""
    shared = mmap.mmap(-1, 8)
    shared[:8] = struct.pack("d", time.monotonic())

    def note(kind, **content):
        if kind in ("checkpoint", "row", "resumed"):
            shared[:8] = struct.pack("d", time.monotonic())

    child = os.fork()
    if child == 0:
        try:
            serve(spec, out, send=note, checkpoint=EVERY_SECONDS)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0
            return None
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return max(0.0, time.monotonic() - struct.unpack("d", shared[:8])[0])


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", EPOCHS)
def test_rows_of_levels_that_were_killed_are_those_of_levels_that_were_not(name, tmp_path):
    spec, draw = spec_of(name), random.Random(name)
    prepared(spec)  # before it is forked
    start = time.perf_counter()
    whole = run(spec, tmp_path / "whole")
    duration = time.perf_counter() - start
    lost, resumed = [], 0
    for attempt in itertools.count():
        out = tmp_path / f"pieces-{attempt}"
        while len(lost) < KILLS:
            cost = run_and_die(spec, out, draw.uniform(0.1, 0.5) * duration)
            if cost is None:
                break
            lost.append(cost)
            store = RunStore(out / spec.id)
            resumed += bool(store.checkpoints.positions())
            rows = results(store.rows(0))
            assert rows == results(whole.rows(0))[: len(rows)]
        serve(spec, out, checkpoint=EVERY_SECONDS)
        assert results(RunStore(out / spec.id).rows(0)) == results(whole.rows(0))
        if len(lost) == KILLS:
            break
    level = duration / len(whole.rows(0))
    print(
        f"\n{name}: {len(lost)} kills, {resumed} with a checkpoint; levels of {level:.1f} s, saved every {EVERY_SECONDS} s; "
        f"lost per kill {statistics.median(lost):.2f} s, at most {max(lost):.2f} s"
    )
