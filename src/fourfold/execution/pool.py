"""Worker processes and the trials that they run: one process a core, or one for a whole GPU with several trials in flight."""

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence

import torch

from fourfold.execution.events import ENDINGS, Event, event_of
from fourfold.execution.interrupts import on_interrupt
from fourfold.execution.jobs import Trial
from fourfold.execution.worker_process import WORKER, WorkerProcess
from fourfold.record import UserError, launched

LOCK_WAIT_SECONDS = 1
"""Long enough for `fourfold status`, which holds a lock for an instant to see whether it is held."""

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
        self._events: queue.SimpleQueue[Event | Exception | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closing = self._stopping = False
        self._workers: list[WorkerProcess] = []
        self._shared = self._new_worker(lanes) if shared and trials else None

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
        worker: WorkerProcess | None = None
        try:
            while (trial := self._next(lane)) is not None:
                worker = self._shared or worker or self._new_worker(1)
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
                    self._worker_died(trial, worker)
                    worker = None
            if worker and worker is not self._shared:
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

    def _new_worker(self, lanes: int) -> WorkerProcess:
        worker = WorkerProcess(self._worker, lanes)
        self._workers.append(worker)
        if self._stopping:
            worker.stop()
        if self._closing:
            worker.kill()
        return worker

    def _worker_died(self, trial: Trial, worker: WorkerProcess) -> None:
        """Tell that a worker ended in the middle of a trial, which ends that trial alone; the others get a new worker."""
        code = worker.kill()
        with self._lock:
            if worker is self._shared and not (self._closing or self._stopping):
                self._shared = self._new_worker(self._lanes)
        if self._stopping:
            self._events.put(Event(kind="stopped", spec=trial.spec, trial=trial.number))
        else:
            message = f"its worker was killed ({_exit(code)})"
            self._events.put(Event(kind="broken", spec=trial.spec, trial=trial.number, message=message))
        self._count_finished()

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


def _exit(code: int) -> str:
    """Return how a process ended, in words."""
    why = "; out of memory?" if code == -signal.SIGKILL else ""
    with contextlib.suppress(ValueError):
        why = why or f", {signal.Signals(-code).name}"
    return f"exit code {code}{why}"
