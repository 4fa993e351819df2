"""A budget stops a run cleanly between epochs, and costs it nothing but time."""

from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lottery_samples import BOTH, results, serve, tiny_spec

from fourfold.lottery import serving
from fourfold.record import RunStore
from fourfold.train import OutOfTimeError


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20), st.floats(0, 100))
def test_training_ends_before_an_epoch_that_would_be_too_late(epochs, deadline):
    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "time", SimpleNamespace(time=lambda: now[0]))
        clock = serving.Clock(deadline)
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


def test_without_a_budget_the_clock_never_rings(monkeypatch):
    seconds = count()
    monkeypatch.setattr(serving, "time", SimpleNamespace(time=lambda: 1e9 * next(seconds)))
    clock = serving.Clock(None)
    for _ in range(10):
        clock.tick()


@pytest.mark.parametrize("algebra", BOTH)
def test_a_run_stopped_by_its_budget_again_and_again_gives_the_same_rows(algebra, tmp_path, alone, monkeypatch):
    spec = tiny_spec(algebra, epochs=3)
    complete = alone(spec)
    told, done = [], []
    while not (told and told[-1] == "finished"):
        ticks = count()  # a second an epoch
        monkeypatch.setattr(serving, "time", SimpleNamespace(time=lambda: next(ticks)))  # noqa: B023
        serve(spec, tmp_path, deadline=6, send=lambda kind, **content: told.append(kind))
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
