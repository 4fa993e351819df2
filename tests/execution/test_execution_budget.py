"""A budget stops a run cleanly between two steps, and costs it nothing but time."""

import re
import time
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fourfold
from fourfold import execution
from fourfold.execution import serving
from fourfold.record import RunStore
from fourfold.train import OutOfTimeError
from lottery_samples import BOTH, results, serve, tiny_spec

SOURCES = Path(fourfold.__file__).parent


@pytest.mark.slow
@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20), st.floats(0, 100))
def test_work_ends_before_a_piece_that_would_be_too_late(pieces, deadline):
    now = [0.0]
    clock = serving.Clock.until(deadline, now=lambda: now[0])
    for seconds in pieces:
        now[0] += seconds
        if now[0] + seconds > deadline + 1e-9:
            assert clock.late(seconds)
            with pytest.raises(OutOfTimeError):
                clock.tick()
            return
        if now[0] + seconds < deadline - 1e-9:
            assert not clock.late(seconds)
            clock.tick()
        else:
            return  # as near as doubles tell


@pytest.mark.slow
@pytest.mark.parametrize("make", [serving.Clock, serving.Clock.until])
def test_without_a_budget_the_clock_never_rings_but_where_it_is_stopped(make):
    seconds = count(step=1e9)
    clock = make(None, now=lambda: next(seconds))
    for _ in range(10):
        clock.tick()
        assert not clock.late(1e9)
    clock.stopped.set()
    assert clock.late(0)
    with pytest.raises(OutOfTimeError):
        clock.tick()


@pytest.mark.slow
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


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
@pytest.mark.parametrize("jump", [-7200, 7200])
def test_a_run_has_its_whole_budget_where_the_clock_is_set(jump, monkeypatch, tmp_path):
    of_day, calls = time.time, count()
    monkeypatch.setattr(time, "time", lambda: of_day() + (jump if next(calls) else 0))
    told = []
    rows = execution.run(
        tiny_spec(levels=1), trials=2, out=tmp_path, device="cpu", workers=1, budget_seconds=3600, on_event=told.append
    )
    assert len(rows) == 2
    assert [event.kind for event in told if event.kind not in ("epoch", "row")] == ["finished"] * 2


@pytest.mark.slow
def test_nothing_measures_a_duration_by_the_time_of_day():
    """What a date is for: when a row was made, and the deadline that goes to another machine and is taken over there."""
    found = {
        (file.name, call)
        for file in sorted(SOURCES.rglob("*.py"))
        for call in re.findall(r"time\.time\b|\butcnow\b|\bdatetime\.now\b|\btime_ns\b", file.read_text())
    }
    assert found == {
        ("serving.py", "time.time"),
        ("bridge.py", "time.time"),
        ("rows.py", "datetime.now"),
        ("_stability.py", "datetime.now"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("algebra", BOTH)
def test_a_run_stopped_by_its_budget_again_and_again_gives_the_same_rows(algebra, tmp_path, alone):
    spec = tiny_spec(algebra, epochs=3, levels=3)
    complete = alone(spec)
    told, places = [], []
    while not (told and told[-1] == "finished"):
        ticks = count()  # a second whenever it is asked for

        def send(kind, **content):
            told.append(kind)
            if kind == "out-of-time":
                places.append(content["message"])

        serve(spec, tmp_path, clock=serving.Clock.until(6, now=lambda: next(ticks)), send=send)  # noqa: B023
        rows = RunStore(tmp_path / spec.id).rows(0)
        assert results(rows) == results(complete.rows(0))[: len(rows)]
        assert len(places) < 99
    assert len(places) >= 3
    assert len(set(places)) == len(places)
    assert all(re.fullmatch(r"level \d, epoch \d of 3, step \d+ of 24", place) for place in places)


@pytest.mark.slow
def test_a_tiny_budget_is_told_and_then_costs_nothing(ran, alone):
    ends = [event.kind for event in ran.events_in_time if event.kind not in ("epoch", "row")]
    assert ends
    assert set(ends) == {"out-of-time"}
    assert ran.rows_in_time == []
    assert results(ran.rows) == results([row for spec in ran.specs for t in (0, 1) for row in alone(spec, t).rows(t)])
