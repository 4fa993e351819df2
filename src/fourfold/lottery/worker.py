"""A worker process: `python -m fourfold.lottery.worker` reads trials to run as JSON lines, and answers with events.

A process of its own per CPU core, started by its command line: nothing is pickled, no guard is needed in the user's
script, and the worker ends when its standard input does, that is, with its parent, however that ended.
"""

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from fourfold.lottery.controls import run_controls
from fourfold.lottery.levels import Experiment, run_trial
from fourfold.record import TICKET, Epoch, Row, RunStore, Spec, UserError
from fourfold.train import OutOfTimeError, resolve_device, single_thread

LOCK_WAIT_SECONDS = 30
"""How long a trial may still be held by a dying process of an earlier run."""


@dataclass(frozen=True, kw_only=True)
class Controls:
    """The controls that follow a trial."""

    names: Collection[str] = ()
    levels: Collection[int] | None = None
    """None means all."""


NO_CONTROLS = Controls()


def main() -> None:
    """Serve tasks from standard input until it ends."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not end up among the events
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    experiments: dict[str, Experiment] = {}
    with single_thread():
        while True:
            _serve(json.loads(tasks.get()), experiments, events)


def _read(tasks: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)  # the parent is gone: stop in the middle of whatever it is


def _serve(task: dict[str, Any], experiments: dict[str, Experiment], events: TextIO) -> None:
    def send(kind: str, **content: Any) -> None:
        events.write(json.dumps({"event": kind, "run": spec.id, "trial": task["trial"], **content}) + "\n")
        events.flush()

    spec = Spec.from_json(task["spec"])
    clock = Clock(task["deadline"])
    try:
        if spec.id not in experiments:
            experiments.clear()
            data_dir = Path(task["data_dir"]) if task["data_dir"] else None
            experiments[spec.id] = Experiment.prepare(spec, data_dir, resolve_device(task["device"]), download=False)
        controls = Controls(names=tuple(task["controls"]), levels=task["control_levels"])
        run_trial_here(experiments[spec.id], Path(task["out"]), task["trial"], clock, send, task["keep"], controls)
    except UserError as error:
        send("error", message=str(error))
    except Exception:
        send("crash", message=traceback.format_exc())


class Clock:
    """Ends a training when the next epoch would not be done in time."""

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.last = time.time()

    def tick(self) -> None:
        """Note the end of an epoch (or the start); raise `OutOfTimeError` if another like it would end after the deadline."""
        now = time.time()
        if self.deadline is not None and now + (now - self.last) > self.deadline:
            raise OutOfTimeError
        self.last = now


def run_trial_here(
    experiment: Experiment,
    out: Path,
    trial: int,
    clock: Clock,
    send: Callable[..., None],
    keep: Collection[int],
    controls: Controls = NO_CONTROLS,
) -> None:
    """Run one trial in this process, then its controls, and send their events."""
    store = RunStore.create(out, experiment.spec)

    def on_row(row: Row) -> None:
        send("row", line=row.to_line())

    def on_epoch(level: int, epoch: Epoch, control: str = TICKET) -> None:
        send("epoch", control=control, level=level, epoch=epoch.epoch, top1=epoch.top1)
        clock.tick()

    def on_control_epoch(control: str, level: int, epoch: Epoch) -> None:
        on_epoch(level, epoch, control)

    try:
        clock.tick()
        with store.lock(f"trial-{trial}", LOCK_WAIT_SECONDS):
            run_trial(experiment, store, trial, on_row, on_epoch, keep)
            run_controls(experiment, store, trial, controls.names, controls.levels, on_row, on_control_epoch)
    except OutOfTimeError:
        send("out-of-time")
        return
    except OSError as error:
        raise UserError(
            f"cannot write to {store.path} ({error.strerror}); all rows so far are safe: make room, then run the same command"
        ) from error
    failures = [store.failure(trial), *(store.failure(trial, control) for control in controls.names)]
    failure = next((failure for failure in failures if failure), None)
    if failure:
        send("failed", message=failure)
    else:
        send("finished")


if __name__ == "__main__":
    main()
