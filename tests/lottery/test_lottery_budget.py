"""A budget stops a run cleanly between epochs, and costs it nothing but time."""

import re
import time
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lottery_samples import BOTH, results, serve, tiny_spec

import fourfold
from fourfold import lottery
from fourfold.lottery import serving
from fourfold.record import RunStore
from fourfold.train import OutOfTimeError

SOURCES = Path(fourfold.__file__).parent


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20), st.floats(0, 100))
def test_training_ends_before_an_epoch_that_would_be_too_late(epochs, deadline):
    now = [0.0]
    clock = serving.Clock.until(deadline, now=lambda: now[0])
    for seconds in epochs:
        now[0] += seconds
        if now[0] + seconds > deadline + 1e-9:
            with pytest.raises(OutOfTimeError):
                clock.tick()
            return
        if now[0] + seconds < deadline - 1e-9:
            clock.tick()
        else:
            return  # as near as doubles tell


@pytest.mark.parametrize("make", [serving.Clock, serving.Clock.until])
def test_without_a_budget_the_clock_never_rings(make):
    seconds = count(step=1e9)
    clock = make(None, now=lambda: next(seconds))
    for _ in range(10):
        clock.tick()


@pytest.mark.parametrize("jump", [-7200, 7200])
def test_a_time_of_day_is_taken_over_once_and_setting_the_clock_changes_nothing(jump, monkeypatch):
    now = [0.0]
    clock = serving.Clock(time.time() + 60, now=lambda: now[0])
    of_day = time.time
    monkeypatch.setattr(time, "time", lambda: of_day() + jump)
    for now[0] in (10.0, 20.0, 29.0):
        clock.tick()
    now[0] = 58.0
    with pytest.raises(OutOfTimeError):
        clock.tick()


@pytest.mark.parametrize("jump", [-7200, 7200])
def test_a_run_has_its_whole_budget_where_the_clock_is_set(jump, monkeypatch, tmp_path):
    of_day, calls = time.time, count()
    monkeypatch.setattr(time, "time", lambda: of_day() + (jump if next(calls) else 0))
    told = []
    rows = lottery.run(
        tiny_spec(levels=1), trials=2, out=tmp_path, device="cpu", workers=1, budget_seconds=3600, on_event=told.append
    )
    assert len(rows) == 2
    assert [event.kind for event in told if event.kind not in ("epoch", "row")] == ["finished"] * 2


def test_nothing_measures_a_duration_by_the_time_of_day():
    """What a date is for: when a row was made, and the deadline that goes to another machine and is taken over there."""
    found = {
        (file.name, call)
        for file in sorted(SOURCES.rglob("*.py"))
        for call in re.findall(r"time\.time\b|\butcnow\b|\bdatetime\.now\b|time_ns\b", file.read_text())
    }
    assert found == {
        ("serving.py", "time.time"),
        ("bridge.py", "time.time"),
        ("rows.py", "datetime.now"),
        ("stability.py", "datetime.now"),
    }


@pytest.mark.parametrize("algebra", BOTH)
def test_a_run_stopped_by_its_budget_again_and_again_gives_the_same_rows(algebra, tmp_path, alone):
    spec = tiny_spec(algebra, epochs=3)
    complete = alone(spec)
    told, done = [], []
    while not (told and told[-1] == "finished"):
        ticks = count()  # a second an epoch
        clock = serving.Clock.until(6, now=lambda: next(ticks))  # noqa: B023
        serve(spec, tmp_path, clock=clock, send=lambda kind, **content: told.append(kind))
        rows = RunStore(tmp_path / spec.id).rows(0)
        assert results(rows) == results(complete.rows(0))[: len(rows)]
        done.append(len(rows))
        assert len(done) < 9
    assert done == [1, 2, 3, 4, 5]
    assert told.count("out-of-time") == len(done) - 1


def test_a_tiny_budget_is_told_and_then_costs_nothing(ran, alone):
    ends = [event.kind for event in ran.events_in_time if event.kind not in ("epoch", "row")]
    assert ends
    assert set(ends) == {"out-of-time"}
    assert ran.rows_in_time == []
    assert results(ran.rows) == results([row for spec in ran.specs for t in (0, 1) for row in alone(spec, t).rows(t)])
