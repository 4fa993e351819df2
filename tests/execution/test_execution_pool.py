"""Several trials in one worker, as on a GPU: the rows are the same, and events find their trial."""

import sys
from dataclasses import replace

import pytest

from fourfold import execution
from fourfold.execution.jobs import Job, Trial
from fourfold.execution.pool import Pool
from fourfold.record import UserError
from lottery_samples import results, tiny_spec

SPECS = [tiny_spec(), replace(tiny_spec(), preset="other")]


def tasks(count=6):
    made = [(SPECS[i % 2], i // 2) for i in range(count)]
    return [Trial(spec=spec, number=trial, job=Job(specs=(spec,))) for spec, trial in made]


def pool_of(program, count, lanes):
    """A pool whose shared worker runs a program of Python's."""
    return Pool(tasks(count), lanes, None, shared=True, worker=[sys.executable, "-c", program])


def run(made):
    return [(event.kind, event.spec and event.spec.preset, event.trial) for event in made.events()]


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_trials_side_by_side_in_one_worker_have_the_rows_of_trials_alone(tmp_path):
    expected = execution.run(SPECS, trials=2, out=tmp_path / "alone", workers=1)
    kinds, job = [], Job(specs=tuple(SPECS), trials=2, out=tmp_path / "lanes")
    found = execution.run_job(
        job, lambda event: kinds.append(event.kind), lambda job, trials: Pool(trials, 3, None, shared=True)
    )
    assert results(found) == results(expected)
    assert kinds.count("finished") == 4


MIXED = """
import json, sys
from fourfold.record import Spec
lines = [json.loads(sys.stdin.readline()) for _ in range(3)]
tasks = [{"run": Spec.from_json(line["spec"]).id, "trial": line["trial"]} for line in lines]
for kind in ("epoch", "finished"):
    for task in reversed(tasks):
        print(json.dumps({"event": kind, "top1": task["trial"], **task}), flush=True)
sys.stdin.read()
"""


@pytest.mark.timeout(60)
def test_events_of_a_shared_worker_find_their_trial():
    told = list(pool_of(MIXED, 3, 3).events())
    assert sorted((event.spec.preset, event.trial, event.kind) for event in told) == sorted(
        (task.spec.preset, task.number, kind) for task in tasks(3) for kind in ("epoch", "finished")
    )
    assert all(event.top1 == event.trial for event in told)


MEMORY = """
import json, sys, threading, time
from fourfold.record import Spec
room, lock, here = int(sys.argv[1]) if len(sys.argv) > 1 else 1, threading.Lock(), 0
ROOM = {room}
def work(task):
    global here
    with lock:
        here += 1
        fits = here <= ROOM
    time.sleep(0.2)
    with lock:
        here -= 1
        print(json.dumps({{"event": "finished" if fits else "out-of-memory", **task}}), flush=True)
for line in sys.stdin:
    trial = json.loads(line)
    threading.Thread(target=work, args=({{"run": Spec.from_json(trial["spec"]).id, "trial": trial["trial"]}},)).start()
"""


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("room", [1, 2, 3])
def test_too_many_for_the_memory_go_on_as_fewer_and_none_is_lost(room):
    told = run(pool_of(MEMORY.format(room=room), 12, 8))
    assert sorted(event for event in told if event[0] == "finished") == sorted(
        ("finished", task.spec.preset, task.number) for task in tasks(12)
    )
    assert 0 < sum(kind == "notice" for kind, *_ in told) <= 3  # 8, 4, 2, 1


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_trial_that_does_not_fit_alone_is_one_sentence():
    with pytest.raises(UserError, match=r"trial \d of .* does not fit into the GPU's memory, not even alone; all rows so far"):
        run(pool_of(MEMORY.format(room=0), 4, 4))


DIES = """
import json, os, sys
for line in sys.stdin:
    if json.loads(line)["trial"] == 1:
        os.kill(os.getpid(), 9)
    print(json.dumps({"event": "finished"}), flush=True)
"""
"""A program that starts quickly, as it is started again and again; of one trial at a time, events need no name."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("shared", [True, False])
def test_a_worker_that_dies_ends_the_trials_that_it_was_at_and_others_get_a_new_one(shared):
    pool = Pool(tasks(6), 1, None, shared=shared, worker=[sys.executable, "-c", DIES])
    told = [(event.kind, event.spec.preset, event.trial, event.message) for event in pool.events()]
    killed = "its worker was killed (exit code -9; out of memory?)"
    assert told == [
        ("broken", task.spec.preset, 1, killed) if task.number == 1 else ("finished", task.spec.preset, task.number, None)
        for task in tasks(6)
    ]


@pytest.mark.timeout(60)
def test_trials_side_by_side_in_a_worker_that_dies_are_told_of_once_each():
    told = run(pool_of("import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 11)", 4, 3))
    assert sorted(told) == sorted(("broken", task.spec.preset, task.number) for task in tasks(4))
