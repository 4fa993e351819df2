"""Fixtures of runs that the tests of several rooms look at, made once a session."""

from dataclasses import dataclass

import pytest

from fourfold import execution
from fourfold.execution import Event
from fourfold.record import Row, RunStore, Spec
from lottery_samples import BOTH, run_alone, tiny_spec
from recovery_samples import all_results, run_until_controls, stopped
from recovery_samples import run as run_kind


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """The rows' stores of uninterrupted trials, run in this process: what every other way to run must give."""
    made: dict[tuple[Spec, int], RunStore] = {}

    def get(spec: Spec, trial: int = 0) -> RunStore:
        if (spec, trial) not in made:
            made[spec, trial] = run_alone(spec, tmp_path_factory.mktemp("alone"), trial)
        return made[spec, trial]

    return get


@dataclass
class Ran:
    """Both algebras, two trials, two workers: a first call with hardly any time, then one without a budget."""

    specs: list[Spec]
    events_in_time: list[Event]
    rows_in_time: list[Row]
    events: list[Event]
    rows: list[Row]


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("ran")
    specs = [tiny_spec(algebra) for algebra in BOTH]
    made = Ran(specs, [], [], [], [])
    made.rows_in_time = execution.run(
        specs, trials=2, out=out, device="cpu", workers=2, budget_seconds=1e-3, on_event=made.events_in_time.append
    )
    made.rows = execution.run(specs, trials=2, out=out, device="cpu", workers=2, on_event=made.events.append)
    return made


@pytest.fixture(scope="session")
def begun(tmp_path_factory):
    """For each kind of run, one that ended inside a level, one that ended before its controls, and what comes of them."""
    made = {}

    def get(name: str):
        if name not in made:
            out = tmp_path_factory.mktemp("begun")
            whole = run_kind(name, out / "whole", keep=[1])
            half = stopped(name, out / "half")
            done = run_until_controls(name, out / "done")
            made[name] = half, done, all_results(whole)
        return made[name]

    return get
