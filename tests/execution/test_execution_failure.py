"""A trial whose loss is no longer a number is over; everything else goes on."""

import os
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fourfold import execution
from fourfold.record import RunStore, UserError
from lottery_samples import results, serve, tiny_spec, workers_of


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
def test_a_failed_trial_is_told_recorded_and_does_not_stop_the_others(tmp_path):
    specs = [replace(tiny_spec("quaternion", optimizer="sgd", learning_rate=99.0), preset="wild"), tiny_spec()]
    events = []
    rows = execution.run(specs, trials=2, out=tmp_path, device="cpu", workers=1, on_event=events.append)
    assert [(row.algebra, row.trial, row.level) for row in rows] == [("real", t, level) for t in (0, 1) for level in range(5)]
    failed = [event for event in events if event.kind == "failed"]
    assert [(event.spec, event.trial) for event in failed] == [(specs[0], 0), (specs[0], 1)]
    store = RunStore(tmp_path / specs[0].id)
    for event in failed:
        assert re.match(r"level 0: the (training|test) loss became ", event.message)
        assert event.message.endswith("in epoch 1")
        assert store.failure(event.trial) == event.message
        assert store.rows(event.trial) == []
        assert not store.finished(event.trial)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_worker_ended_from_outside_is_one_sentence_and_the_same_call_goes_on(tmp_path, alone):
    spec = tiny_spec(epochs=2)
    killed = []

    def kill_once(event):
        if event.kind == "row" and event.level == 1 and not killed:
            killed.extend(workers_of(os.getpid()))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(UserError, match=r"^trial 0 of tiny-real-\w+: its worker was killed \(exit code -9; ") as caught:
        execution.run(spec, trials=1, out=tmp_path, device="cpu", workers=1, on_event=kill_once)
    assert str(caught.value).endswith("all rows so far are safe, the same command resumes")
    assert len(killed) == 1
    before = RunStore(tmp_path / spec.id).rows(0)
    assert len(before) >= 2
    rows = execution.run(spec, trials=1, out=tmp_path, device="cpu", workers=1)
    assert rows[: len(before)] == before
    assert results(rows) == results(alone(spec).rows(0))


@pytest.mark.parametrize("what", ["the folder", "its locks"])
def test_a_run_that_is_removed_under_way_is_not_said_to_be_safe(what, tmp_path, alone):
    spec = tiny_spec(levels=3)
    store = RunStore(tmp_path / spec.id)

    def remove(kind, **content):
        if kind == "row" and '"level":1,' in content["line"]:
            if what == "the folder":
                shutil.rmtree(store.path)
            else:
                (store.path / ".trial-0.lock").unlink()

    with pytest.raises(UserError) as caught:
        serve(spec, tmp_path, send=remove)
    assert "safe" not in str(caught.value)
    told = "(it was removed)" if what == "the folder" else "expected the lock that this process holds, found none"
    assert told in str(caught.value)
    assert len(store.rows(0)) == (0 if what == "the folder" else 2)
    serve(spec, tmp_path)
    assert results(store.rows(0)) == results(alone(spec).rows(0))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_workers_end_with_the_call_however_it_ends(tmp_path):
    class MineError(Exception):
        pass

    def give_up(event):
        raise MineError

    with pytest.raises(MineError):
        execution.run(tiny_spec(epochs=100_000), trials=1, out=tmp_path, device="cpu", workers=1, on_event=give_up)
    end = time.monotonic() + 20
    while workers_of(os.getpid()):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not RunStore(tmp_path / tiny_spec(epochs=100_000).id).locked("run")
