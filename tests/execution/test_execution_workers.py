"""Workers that end in odd ways are told apart from those that did their work."""

import sys
import time

import pytest

from fourfold import execution
from fourfold.execution import Job, serving
from fourfold.execution.pool import Pool
from fourfold.record import RunStore, UserError
from lottery_samples import tiny_spec


def run_with(program, out, on_event=lambda event: None, **settings):
    """Run trials by a worker that runs a program of Python's."""
    job = Job(**{"specs": (tiny_spec(),), "trials": 1, "out": out, **settings})
    command = [sys.executable, "-c", program]
    return execution.run_job(job, on_event, lambda job, trials: Pool(trials, 1, job.deadline, worker=command))


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(
            'import sys; sys.stdin.readline(); sys.stdout.write(\'{"event": "ro\'); sys.stdout.flush()', id="torn event"
        ),
        pytest.param("import sys; sys.exit(3)", id="gone before its task"),
        pytest.param("import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)", id="killed"),
    ],
)
@pytest.mark.timeout(60)
def test_a_worker_that_ends_early_is_one_sentence(tmp_path, program):
    with pytest.raises(UserError, match=r"^trial 0 of .* was killed \(exit code (-9; out of memory\?|[1-9]\d*|0)\); all rows"):
        run_with(program, tmp_path)


@pytest.mark.timeout(60)
def test_events_that_make_no_sense_end_the_run(tmp_path):
    with pytest.raises(ValueError, match="Expecting value"):
        run_with("import sys; sys.stdin.readline(); print('nonsense', flush=True); sys.stdin.readline()", tmp_path)


@pytest.mark.timeout(60)
def test_after_the_deadline_no_task_is_handed_out(tmp_path):
    given = tmp_path / "given"
    given.touch()
    slow = f"""
import json, sys, time
for line in sys.stdin:
    open({str(given)!r}, "a").write(line)
    time.sleep(1.5)
    print(json.dumps({{"event": "out-of-time"}}), flush=True)
"""
    told = []
    run_with(slow, tmp_path, told.append, trials=9, budget_seconds=1)
    assert [(event.kind, event.trial) for event in told] == [("out-of-time", trial) for trial in range(9)]
    assert given.read_text().count("\n") <= 1


def test_a_trial_that_starts_after_the_deadline_trains_nothing(tmp_path):
    from lottery_samples import serve

    kinds = []
    serve(tiny_spec(), tmp_path, clock=serving.Clock(time.time() - 1), send=lambda kind, **content: kinds.append(kind))
    assert kinds == ["out-of-time"]
    assert RunStore(tmp_path / tiny_spec().id).rows(0) == []
