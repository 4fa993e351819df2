"""Which trials of a run are at work, and about how long the run still takes."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fourfold.execution import Event
from fourfold.execution.events import ENDINGS
from fourfold.record import TICKET, RunStore

if TYPE_CHECKING:
    from fourfold.execution import Job
    from fourfold.timing import Plan

Key = tuple[str, int]
"""The id of a run and the number of a trial."""

TRUSTED_SECONDS = 10.0
"""Work by the plan, in seconds of a worker, that counts as much as what was measured: the first levels say little."""


class Outlook:
    """About how long a run still takes: by its plan, corrected by how fast it has been.

    Args:
        costs: Seconds of a worker for each planned level, by the run's id.
        done: Levels that are done, of every trial that is incomplete.
        workers: Trials at a time.
        control_seconds: Of the controls of all those trials.
        now: The time.
    """

    def __init__(
        self,
        costs: Mapping[str, Sequence[float]],
        done: Mapping[Key, float],
        workers: int,
        control_seconds: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._costs, self._done, self._workers, self._now = costs, dict(done), max(1, workers), now
        self._control_seconds = control_seconds / max(1, len(done))
        self._start = self._measured_at = now()
        self._spent, self._slowness = 0.0, 1.0

    def take(self, event: Event) -> None:
        """Take note of an epoch, a level or the end of a trial."""
        if event.trial is None or (key := (event.spec.id, event.trial)) not in self._done:
            return
        if event.kind in ENDINGS:
            del self._done[key]
        elif event.control == TICKET and event.kind in ("row", "epoch") and event.level is not None:
            before = self._left(key)
            part = 1.0 if event.kind == "row" else (event.epoch or 0) / event.spec.train.epochs
            self._done[key] = max(self._done[key], event.level + min(1.0, part))
            self._spent += before - self._left(key)
        else:
            return
        self._measured_at = self._now()
        busy = (self._measured_at - self._start) * min(self._workers, max(1, len(self._done)))
        self._slowness = (busy + TRUSTED_SECONDS) / (self._spent + TRUSTED_SECONDS)

    @property
    def seconds(self) -> float | None:
        """About how long it still takes; None where it has taken longer than planned, or is at its end."""
        if not self._done:
            return None
        work = sum(map(self._left, self._done)) + self._control_seconds * len(self._done)
        left = work * self._slowness / min(self._workers, len(self._done)) - (self._now() - self._measured_at)
        return left if left > 0 else None

    def _left(self, key: Key) -> float:
        """Return the planned work of a trial that is left, in seconds of a worker."""
        costs, done = self._costs.get(key[0], ()), self._done[key]
        return sum(cost * min(1.0, level + 1 - done) for level, cost in enumerate(costs) if level + 1 > done)


class Turns:
    """The trials of a job in the order in which they are taken, of which the first are at work.

    Args:
        job: What is to be done.
        at_a_time: Trials that are at work; 0 where that is not known, as on a cluster.
    """

    def __init__(self, job: "Job", at_a_time: int) -> None:
        stores = [RunStore.expecting(job.out, spec) for spec in job.specs]
        pairs = [(store, spec, trial) for trial in range(job.trials) for store, spec in zip(stores, job.specs, strict=True)]
        waiting = [(spec.id, trial, len(store.rows(trial))) for store, spec, trial in pairs if job.incomplete(store, trial)]
        self.done: dict[Key, float] = {(run, trial): float(levels) for run, trial, levels in waiting}
        """Levels that are done, of every trial that is incomplete."""
        self._waiting = [(run, trial) for run, trial, _ in waiting]
        self._at_a_time = at_a_time

    def begin(self) -> list[Key]:
        """Return the trials that are at work at first."""
        first, self._waiting = self._waiting[: self._at_a_time], self._waiting[self._at_a_time :]
        return first

    def next(self) -> Key | None:
        """Return the trial that begins where another has ended."""
        return self._waiting.pop(0) if self._waiting and self._at_a_time else None


def outlook_of(turns: Turns, plans: "Sequence[Plan]", workers: int) -> Outlook:
    """Return the outlook of a job that was planned."""
    costs = {plan.spec.id: plan.level_costs for plan in plans}
    return Outlook(costs, turns.done, workers, sum(plan.control_seconds for plan in plans))
