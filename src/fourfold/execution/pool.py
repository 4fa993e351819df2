"""Worker processes and the trials that they run: one process a core, or one for a whole GPU with several trials in flight."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fourfold.execution.interrupts import on_interrupt
from fourfold.execution.jobs import Trial
from fourfold.record import TICKET, Row, Spec, UserError, launched

ENDINGS = ("finished", "failed", "broken", "out-of-time", "stopped")
"""The kinds of event after which a trial has no other."""

KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""glibc would return large blocks to the system at every step and fault them in again; other allocators ignore this."""

WORKER = [sys.executable, "-P", "-m", "fourfold.execution.worker"]
"""Without the current folder on the path, where a file may have the name of a module of Python's."""

LOCK_WAIT_SECONDS = 1
"""Long enough for `fourfold status`, which holds a lock for an instant to see whether it is held."""

STOP = "stop\n"
"""The line that tells a worker to end its trials at their next step."""

STOP_SECONDS = 30.0
"""How long workers may take to come to their next step, which an evaluation may keep them from, and to write checkpoints."""

MOST_WORKERS = 10_000
"""More processes than this can only be a slip of the keyboard."""

LOOK_SECONDS = 0.1
"""How often an idle lane looks whether another has given a trial back."""


def default_workers(device: torch.device) -> int:
    """Return the trials to run at a time: one a core that this process may use, or one on a GPU or of several ranks."""
    if device.type == "cuda" or launched():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a trial."""

    kind: str
    """epoch, row, kept (a level that was done), connectivity, checkpoint (was written), resumed (a level, from one),
    finished, failed (for good: the loss became nan), broken (by the user's code), out-of-time, stopped (by Ctrl-C), notice (of
    data, machines or a checkpoint), or cluster (what it consists of from now on)."""
    spec: Spec
    trial: int | None = None
    control: str = TICKET
    """The control that an epoch is of."""
    level: int | None = None
    epoch: int | None = None
    top1: float | None = None
    value: float | None = None
    """The task's metric after the epoch; None means `top1`."""
    row: Row | None = None
    message: str | None = None


OnEvent = Callable[[Event], None]


def event_of(trial: Trial, value: dict[str, Any]) -> Event:
    """Return a message of a worker about a trial as an event.

    Raises:
        UserError: it met a mistake of the user's, which ends the run.
        RuntimeError: it crashed.
    """
    if value["event"] == "error":
        raise UserError(value["message"])
    if value["event"] == "crash":
        raise RuntimeError(f"trial {trial.number} of {trial.spec.id} crashed in its worker:\n{value['message']}")
    row = Row.from_line(value["line"]) if "line" in value else None
    return Event(
        kind=value["event"],
        spec=trial.spec,
        trial=trial.number,
        control=row.control if row else value.get("control", TICKET),
        level=row.level if row else value.get("level"),
        epoch=value.get("epoch"),
        top1=value.get("top1"),
        value=value.get("value"),
        row=row,
        message=value.get("message"),
    )


class Pool:
    """Lanes, each of which takes one trial after the other.

    Args:
        trials: What is to be done, in this order.
        lanes: Tasks at a time.
        deadline: Time (`time.monotonic()`, which all processes of a machine share) from which no further trial is begun; None
            means none.
        shared: Whether all lanes share one worker process, as they must on a GPU to compute at the same time, or each has
            its own. Where a shared worker runs out of memory, half of the lanes remain.
        worker: The command that starts a worker.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        lanes: int,
        deadline: float | None,
        shared: bool = False,
        worker: Sequence[str] = tuple(WORKER),
    ) -> None:
        self._todo: queue.SimpleQueue[Trial] = queue.SimpleQueue()
        for trial in trials:
            self._todo.put(trial)
        self._unfinished = len(trials)
        self._running = 0
        self._lanes = lanes
        self._deadline = deadline
        self._worker = worker
        self._shared = _Worker(worker, lanes) if shared and trials else None
        self._workers: list[_Worker] = [self._shared] if self._shared else []
        self._events: queue.SimpleQueue[Event | Exception | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closing = self._stopping = False

    def events(self) -> Iterator[Event]:
        """Run all trials; yield what happens. Workers end with this generator, however it ends.

        Ctrl-C lets trials end at their next step, a second one ends them at once.

        Raises:
            KeyboardInterrupt: they were ended so.
        """
        threads = [threading.Thread(target=self._tend, args=(lane,), daemon=True) for lane in range(self._lanes)]
        with on_interrupt(self.stop):
            try:
                for thread in threads:
                    thread.start()
                ended = 0
                while ended < len(threads):
                    event = self._events.get()
                    if isinstance(event, Exception):
                        raise event
                    if event is None:
                        ended += 1
                    else:
                        yield event
                while not self._stopping and not self._todo.empty():  # after the deadline
                    trial = self._todo.get()
                    yield Event(kind="out-of-time", spec=trial.spec, trial=trial.number)
            finally:
                self._closing = True
                for worker in self._workers:
                    worker.kill()
        if self._stopping:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Let all trials end at their next step, and begin no others; who takes too long is killed."""
        self._stopping = True
        for worker in self._workers:
            worker.stop()
        kill = threading.Timer(STOP_SECONDS, lambda: [worker.kill() for worker in self._workers])
        kill.daemon = True
        kill.start()

    def _tend(self, lane: int) -> None:
        """Feed a worker until nothing is left to do, or this lane is one too many."""
        try:
            worker = self._shared
            if worker is None:
                worker = _Worker(self._worker, 1)
                self._workers.append(worker)
            while (trial := self._next(lane)) is not None:
                with self._beside_others() as (lanes, alone):
                    ending = None
                    for value in worker.run(trial):
                        ending = value["event"]
                        if ending == "out-of-memory":
                            self._give_back(trial, lanes, alone)
                            break
                        self._events.put(event_of(trial, value))
                        if ending in ENDINGS:
                            self._count_finished()
                            break
                if ending not in ("out-of-memory", *ENDINGS):
                    self._worker_died(trial, worker.kill())
            if worker is not self._shared:
                worker.kill()
        except Exception as error:
            self._events.put(error)
        finally:
            self._events.put(None)

    def _next(self, lane: int) -> Trial | None:
        """Wait for a trial to run; return None when there will be none for this lane."""
        while not self._closing and not self._stopping and not self._late() and lane < self._lanes and self._unfinished:
            with contextlib.suppress(queue.Empty):
                return self._todo.get(timeout=LOOK_SECONDS)
        return None

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _count_finished(self) -> None:
        with self._lock:
            self._unfinished -= 1

    def _worker_died(self, trial: Trial, code: int) -> None:
        """Tell that a worker ended in the middle of a trial; unless it was stopped, that ends the run."""
        if not self._stopping:
            why = "; out of memory?" if code == -signal.SIGKILL else ""
            raise UserError(
                f"the worker of trial {trial.number} of {trial.spec.id} was killed (exit code {code}{why}); "
                "all rows so far are safe, the same command resumes"
            )
        self._events.put(Event(kind="stopped", spec=trial.spec, trial=trial.number))

    @contextlib.contextmanager
    def _beside_others(self) -> Iterator[tuple[int, bool]]:
        """Count a trial as running; yield how many lanes there are, and whether it runs alone."""
        with self._lock:
            self._running += 1
            lanes, alone = self._lanes, self._running == 1
        try:
            yield lanes, alone
        finally:
            with self._lock:
                self._running -= 1

    def _give_back(self, trial: Trial, lanes: int, alone: bool) -> None:
        """Go on with half of the lanes that the trial began beside, unless that is so already; one of them takes it again."""
        with self._lock:
            if lanes == 1 and alone:
                raise UserError(
                    f"trial {trial.number} of {trial.spec.id} does not fit into the GPU's memory, not even alone; all rows so "
                    "far are safe: use a larger GPU or --device cpu"
                )
            if self._lanes == lanes > 1:
                self._lanes = lanes // 2
                message = f"the GPU's memory is full: from now on {self._lanes} at a time"
                self._events.put(Event(kind="notice", spec=trial.spec, message=message))
        self._todo.put(trial)


class _Worker:
    """A worker process, and the trials that it is at."""

    def __init__(self, command: Sequence[str], lanes: int) -> None:
        self._process = subprocess.Popen(
            [*command, *([str(lanes)] if lanes > 1 else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches the parent alone
            env={**KEEP_FREED_MEMORY, **os.environ},
        )
        self._lock = threading.Lock()
        self._followers: dict[tuple[str, int], queue.SimpleQueue[str | None]] = {}
        self._ended = False
        self._router = threading.Thread(target=self._route, daemon=True)
        self._router.start()

    def run(self, trial: Trial) -> Iterator[dict[str, Any]]:
        """Hand over a trial and yield what the worker says of it, for as long as it says anything."""
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with self._lock:
            self._followers[trial.key] = lines
            if self._ended:
                lines.put(None)
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # the end of its output tells that a worker is gone
                self._process.stdin.write(trial.to_line())
                self._process.stdin.flush()
        try:
            while (line := lines.get()) is not None:
                yield json.loads(line)
        finally:
            with self._lock:
                del self._followers[trial.key]

    def stop(self) -> None:
        """Tell the process to end its trials at their next step."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError, ValueError):  # it may be gone
            self._process.stdin.write(STOP)
            self._process.stdin.flush()

    def kill(self) -> int:
        """End the process, and return how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        code = self._process.wait()
        self._router.join()
        self._process.stdout.close()
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return code

    def _route(self) -> None:
        """Give each line to the trial that it is of; a line that is not whole is the end."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith("\n"):
                break
            with self._lock:
                for lines in self._of(line):
                    lines.put(line)
        with self._lock:
            self._ended = True
            for lines in self._followers.values():
                lines.put(None)

    def _of(self, line: str) -> "list[queue.SimpleQueue[str | None]]":
        followers = list(self._followers.values())
        if len(followers) > 1:
            value = json.loads(line)
            return [self._followers[value["run"], value["trial"]]]
        return followers
