"""Serving tasks: a trial with its controls, or its stability, run in this process, and reported as events."""

import contextlib
import json
import platform
import threading
import time
import traceback
from bdb import BdbQuit
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch

from fourfold import parts, tasks
from fourfold.execution.disk_failures import told_of
from fourfold.execution.jobs import Job, Trial
from fourfold.lottery._stability import Line, run_stability
from fourfold.lottery.controls import run_controls
from fourfold.lottery.levels import Experiment, run_trial
from fourfold.record import TICKET, ConnectivityRow, Epoch, Row, RunStore, Spec, UserError
from fourfold.record.code_errors import UserCodeError
from fourfold.record.same_run import check_metric
from fourfold.record.text import first_line
from fourfold.train import ALONE, OutOfTimeError, Ranks, TrainingFailedError, resolve_device, single_thread
from fourfold.train.saving import Rule, Saving

BROKEN = "broken"
"""The kind of event that ends a trial whose user code has failed; others continue, and the trial can be resumed."""

LOCK_WAIT_SECONDS = 30
"""How long a trial may still be held by a dying process of an earlier run."""


class Server:
    """Runs tasks and tells their events; several threads may share one."""

    def __init__(self, experiments_kept: int, *, raises: bool = False) -> None:
        self._experiments: dict[str, Experiment] = {}
        self._kept, self._raises = experiments_kept, raises
        self.broken: list[BaseException] = []
        """What code of the user's has raised, each of which has ended a trial."""
        self._preparing = threading.Lock()
        self.stopped = threading.Event()
        """Set to end all trials at their next step."""

    def serve(self, trials: Iterable[Trial], write: Callable[[str], None]) -> None:
        """Run trials one after the other in this thread, on one core; what happens is events, written as lines of JSON."""
        with single_thread(), own_stream():
            for trial in trials:
                send = partial(_send, write, trial)
                clock = Clock.of(trial.job)
                clock.stopped = self.stopped
                try:
                    experiment, store = self._prepared(trial.spec, trial.job)
                    with parts.as_it_was():
                        if trial.job.line:
                            run_stability_here(experiment, store, trial.number, clock, send, trial.job.line)
                        else:
                            run_trial_here(experiment, store, trial.number, clock, send, trial.job)
                except BaseException as error:  # whatever it is, it would end a thread silently
                    if isinstance(error, KeyboardInterrupt) and self._raises:
                        raise
                    if message := _broken(error, trial.spec):
                        self.broken.append(error)
                        send(BROKEN, message=str(message), details="".join(traceback.format_exception(error)))
                    elif self._raises and not isinstance(error, UserError):
                        raise
                    else:
                        _send_failure(error, send)

    def _prepared(self, spec: Spec, job: Job) -> tuple[Experiment, RunStore]:
        with self._preparing:
            if spec.id not in self._experiments:
                while len(self._experiments) >= self._kept:
                    self._experiments.pop(next(iter(self._experiments)))
                self._experiments[spec.id] = Experiment.prepare(spec, job.data_dir, resolve_device(job.device), download=False)
                if torch.cuda.is_available():
                    torch.cuda.synchronize()  # the images were put there on this thread's stream, and others will read them
            experiment = self._experiments[spec.id]
        check_same_data(experiment, job.data.get(spec.data.name))
        return experiment, RunStore.create(job.out.absolute(), spec)


def _send(write: Callable[[str], None], trial: Trial, kind: str, **content: Any) -> None:
    write(json.dumps({"event": kind, "run": trial.spec.id, "trial": trial.number, **content}))


def _broken(error: BaseException, spec: Spec) -> UserError | None:
    """Return the sentence for an error of the user's code, which ends its trial alone; None for any other."""
    if isinstance(error, UserCodeError):
        return error
    if isinstance(error, UserError | torch.OutOfMemoryError | BdbQuit) or "CUDA error" in first_line(error):
        return None
    return parts.explained(error, spec, anywhere=True)


def _send_failure(error: BaseException, send: Callable[..., None]) -> None:
    """Tell what ended a trial: a mistake of the user's, a full GPU, or a fault of ours."""
    if isinstance(error, UserError):
        send("error", message=str(error))
    elif isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        send("out-of-memory")
    elif "CUDA error" in (reason := first_line(error)):
        send("error", message=f"the GPU failed ({reason}); all rows so far are safe, the same command resumes")
    else:
        send("crash", message="".join(traceback.format_exception(error)))


def create_store(job: Job, spec: Spec, data: str | None, tell: Callable[[str], None] = lambda sentence: None) -> RunStore:
    """Return the store of a spec of a job whose code is pinned, created if needed; rewriting its spec is reported.

    Raises:
        UserError: the run was begun with other data, other code or a task that is judged by something else.
    """
    code = dict(spec.trust.digests) if spec.trust else {}
    store = RunStore.create(job.out, spec, data, code, accept_changed_code=job.accept_changed_code, tell=tell)
    check_metric(store, tasks.get(spec).metric)
    return store


def check_same_data(experiment: Experiment, expected: str | None) -> None:
    """Raise `UserError` if a process has loaded other images or labels than the one that gave it the trial; None is any."""
    if None not in (expected, experiment.data) and expected != experiment.data:
        raise UserError(
            f"the {experiment.spec.data.name} data on {platform.node()} (SHA-256 {str(experiment.data)[:8]}) are others than "
            f"those that the run was started with ({str(expected)[:8]}): every process must read the same"
        )


class Clock:
    """Says when work ends: at a deadline, or when somebody stops it; the first of several ranks decides.

    Time is that of the monotonic clock, which cannot be set: a budget of an hour is an hour of running.

    Args:
        deadline: Time of day (`time.time()`) at which time is up, as several machines share it; None means never.
        ranks: The processes that train together.
        now: The clock that counts from here on.
    """

    def __init__(self, deadline: float | None, ranks: Ranks = ALONE, now: Callable[[], float] = time.monotonic) -> None:
        self.end = None if deadline is None else now() + (deadline - time.time())
        self.last = now()
        self.stopped = threading.Event()
        """Set by who wants an end now."""
        self._ranks, self._now = ranks, now

    @classmethod
    def of(cls, job: Job) -> "Clock":
        """Return the clock of a job, of this machine's or of another one's."""
        return cls.until(job.deadline) if job.time_of_day is None else cls(job.time_of_day)

    @classmethod
    def until(cls, end: float | None, ranks: Ranks = ALONE, now: Callable[[], float] = time.monotonic) -> "Clock":
        """Return a clock that ends when this machine's `now` reaches a time; None means never."""
        clock = cls(None, ranks, now)
        clock.end = end
        return clock

    def late(self, ahead_seconds: float) -> bool:
        """Return whether work shall end now rather than take so long."""
        return self.stopped.is_set() or (self.end is not None and self._now() + ahead_seconds > self.end)

    def tick(self) -> None:
        """Note the end of a piece of work (or the start); raise `OutOfTimeError` if another would end after the deadline."""
        now = self._now()
        late = self.stopped.is_set() or (self.end is not None and now + (now - self.last) > self.end)
        if self._ranks.from_first(bytes([late])) == bytes([True]):
            raise OutOfTimeError
        self.last = now


def run_trial_here(
    experiment: Experiment,
    store: RunStore,
    trial: int,
    clock: Clock,
    send: Callable[..., None],
    job: Job,
) -> None:
    """Run one trial in this process, then its controls, and send their events.

    Args:
        experiment: What all trials share.
        store: The run.
        trial: The trial.
        clock: Ends it.
        send: Called with every event.
        job: Levels to keep, controls to run and when to write checkpoints.
    """

    def on_row(row: Row) -> None:
        send("row", line=row.to_line())

    def on_epoch(level: int, epoch: Epoch, control: str = TICKET) -> None:
        send("epoch", control=control, level=level, epoch=epoch.epoch, top1=epoch.top1, value=epoch.metric)

    def on_kept(level: int, message: str) -> None:
        send("kept", level=level, message=message)

    def on_control_epoch(control: str, level: int, epoch: Epoch) -> None:
        on_epoch(level, epoch, control)

    rule = Rule(job.checkpoint, job.least_seconds)
    saving = Saving(store=store, trial=trial, ends=clock, rule=rule, data=experiment.data, tell=send)
    try:
        clock.tick()
        with _held(store, experiment.spec, trial):
            run_trial(experiment, store, trial, on_row, on_epoch, job.keep, on_kept, saving)
            run_controls(experiment, store, trial, job.controls, job.control_levels, on_row, on_control_epoch, saving)
    except OutOfTimeError as ending:
        _send_ending(clock, send, str(ending))
        return
    failures = [store.failure(trial), *(store.failure(trial, control) for control in job.controls)]
    failure = next((failure for failure in failures if failure), None)
    if failure:
        send("failed", message=failure)
    else:
        send("finished")


def run_stability_here(
    experiment: Experiment, store: RunStore, trial: int, clock: Clock, send: Callable[..., None], line: Line
) -> None:
    """Measure the connectivity of one trial's levels in this process, and send its events."""

    def on_row(row: ConnectivityRow) -> None:
        connectivity, metric = row.connectivity, row.metric
        barrier = f"{metric.number(connectivity.barrier)} {metric.difference_unit}"
        send("connectivity", level=row.level, message=f"step {connectivity.step}: a barrier of {barrier}")
        clock.tick()

    try:
        clock.tick()
        with _held(store, experiment.spec, trial):
            run_stability(experiment, store, trial, line, on_row)
    except OutOfTimeError:
        _send_ending(clock, send, None)
    except TrainingFailedError as failure:
        send("failed", message=f"its connectivity: {failure}")
    else:
        send("finished")


def _send_ending(clock: Clock, send: Callable[..., None], where: str | None) -> None:
    """Tell that a trial has ended before its time, and where."""
    send("stopped" if clock.stopped.is_set() else "out-of-time", message=where or None)


@contextlib.contextmanager
def _held(store: RunStore, spec: Spec, trial: int) -> Iterator[None]:
    """Hold a trial's lock; what the disk refuses becomes a sentence."""
    with told_of(store, spec), store.lock(f"trial-{trial}", LOCK_WAIT_SECONDS):
        yield


def own_stream() -> contextlib.AbstractContextManager[object]:
    """Compute on a CUDA stream of this thread's own, where there is CUDA."""
    if not torch.cuda.is_available():
        return contextlib.nullcontext()
    return torch.cuda.stream(torch.cuda.Stream())  # type: ignore[no-untyped-call]
