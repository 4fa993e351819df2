"""`run`: all trials of some specs on this machine, a worker process a core, resumed from whatever is on disk."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fourfold import data
from fourfold.lottery.building import measure
from fourfold.lottery.controls import check_controls, controls_left
from fourfold.record import TICKET, Row, RunStore, Spec, UserError
from fourfold.train import resolve_device, steps_per_epoch

KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""glibc would return large blocks to the system at every step and fault them in again; other allocators ignore this."""


WORKER = [sys.executable, "-m", "fourfold.lottery.worker"]

LOCK_WAIT_SECONDS = 1
"""Long enough for `fourfold status`, which holds a lock for an instant to see whether it is held."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a trial."""

    kind: str
    """epoch, row, finished, failed (for good: the loss became nan), out-of-time, or notice (about the data)."""
    spec: Spec
    trial: int | None = None
    control: str = TICKET
    """The control that an epoch is of."""
    level: int | None = None
    epoch: int | None = None
    top1: float | None = None
    row: Row | None = None
    message: str | None = None


OnEvent = Callable[[Event], None]


def run(
    specs: Spec | Sequence[Spec],
    *,
    trials: int = 5,
    out: Path | str = "runs",
    device: str = "auto",
    data_dir: Path | str | None = None,
    workers: int | None = None,
    budget_seconds: float | None = None,
    keep: Sequence[int] = (),
    controls: Sequence[str] = (),
    control_levels: Sequence[int] | None = None,
    on_event: OnEvent = lambda event: None,
) -> list[Row]:
    """Run what is missing of some specs' trials, and return all their rows, those of the controls last.

    Every level is on disk before the next begins, so a run that ended in any way goes on when it is called again, and
    its rows are those of a run that was never interrupted.

    Args:
        specs: One experiment or several; their trials are taken in turn.
        trials: Trials of each spec; trial t is the same whatever their number.
        out: Folder in which each spec gets a folder named by its id.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data_dir: Where the data lie; default `$FOURFOLD_DATA`, else the cache, into which they are downloaded.
        workers: Processes, one trial each at a time; default: as many as cores on a CPU, one on a GPU.
        budget_seconds: Stop before this much time has gone; what was begun and not finished is not kept.
        keep: Levels whose trained weights are kept, if they are not on disk yet; `load_trained` reads them.
        controls: Controls to run after a trial, names of `fourfold.record.CONTROLS`.
        control_levels: Levels that they are run for; None means all that the trial has.
        on_event: Called in this thread with everything that happens.

    Raises:
        UserError: a mistake in the arguments, the data or the folder, in one sentence.
    """
    specs = [specs] if isinstance(specs, Spec) else list(specs)
    out, data_dir = Path(out), Path(data_dir) if data_dir else None
    deadline = None if budget_seconds is None else time.time() + budget_seconds
    check(specs, trials, workers, budget_seconds, device, keep, controls, control_levels)
    for spec in {spec.data.name: spec for spec in specs}.values():
        images = data.load(spec.data.name, data_dir)  # downloads and complains here, before anything is written
        for notice in images.notices:
            on_event(Event(kind="notice", spec=spec, message=notice))
    stores = [RunStore.create(out, spec) for spec in specs]
    with contextlib.ExitStack() as stack:
        for store in stores:
            stack.enter_context(store.lock("run", LOCK_WAIT_SECONDS))
            store.sweep()
        shared = {
            "out": str(out.absolute()),
            "data_dir": str(data_dir.absolute()) if data_dir else None,
            "device": device,
            "deadline": deadline,
            "keep": list(keep),
            "controls": list(controls),
            "control_levels": None if control_levels is None else list(control_levels),
        }
        tasks = [
            _Task(spec=spec, trial=trial, message=_message(spec, trial, shared))
            for trial in range(trials)
            for spec, store in zip(specs, stores, strict=True)
            if not store.finished(trial) or controls_left(store, trial, controls, control_levels)
        ]
        count = min(workers or default_workers(resolve_device(device)), len(tasks))
        for event in _Pool(tasks, count, deadline).events():
            on_event(event)
        tickets = [row for store in stores for trial in range(trials) for row in store.rows(trial)]
        return tickets + [
            row
            for store in stores
            for control in controls
            for trial in range(trials)
            for row in store.control_rows(trial, control)
        ]


def check(
    specs: Sequence[Spec],
    trials: int,
    workers: int | None,
    budget_seconds: float | None,
    device: str,
    keep: Sequence[int] = (),
    controls: Sequence[str] = (),
    control_levels: Sequence[int] | None = None,
) -> None:
    """Raise `UserError` for anything that can be seen to be wrong without touching the disk."""
    if trials < 1:
        raise UserError(f"`trials` (={trials}) must be at least 1")
    if workers is not None and workers < 1:
        raise UserError(f"`workers` (={workers}) must be at least 1")
    if budget_seconds is not None and not budget_seconds > 0:
        raise UserError(f"`budget_seconds` (={budget_seconds}) must be above 0")
    if any(level < 0 for level in keep):
        raise UserError(f"`keep` (={list(keep)}) must be levels, from 0 (dense) up")
    if not specs:
        raise UserError("there is nothing to run: name at least one algebra")
    if len({spec.id for spec in specs}) < len(specs):
        raise UserError("one experiment is named twice")
    resolve_device(device)
    check_controls(specs, controls, control_levels)
    for spec in specs:
        measure(spec)
        _check_rewinding(spec)
        last = spec.stop.max_level
        if last is not None and any(level > last for level in keep):
            raise UserError(f"`keep` (={list(keep)}) names a level after the last one, {last}")


def _check_rewinding(spec: Spec) -> None:
    """Refuse a step to rewind to that leaves none to train."""
    images = data.info(spec.data.name).train_images - spec.data.validation
    steps = spec.train.epochs * steps_per_epoch(images, spec.train.batch_size)
    if spec.prune.rewind == "step" and (spec.prune.rewind_to or 0) >= steps:
        raise UserError(f"`prune.rewind_to` (={spec.prune.rewind_to}) must be below the {steps} steps of a training")


@dataclass(frozen=True, kw_only=True)
class _Task:
    spec: Spec
    trial: int
    message: str


def _message(spec: Spec, trial: int, shared: dict[str, Any]) -> str:
    return json.dumps({"spec": spec.to_json(), "trial": trial, **shared}) + "\n"


def default_workers(device: torch.device) -> int:
    """Return the trials to run at a time: one a core that this process may use, or one on a GPU."""
    if device.type == "cuda":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Pool:
    """Worker processes, each with a thread here that hands it one task after the other."""

    tasks: list[_Task]
    count: int
    deadline: float | None
    _todo: "queue.SimpleQueue[_Task]" = field(default_factory=queue.SimpleQueue)
    _events: "queue.SimpleQueue[Event | Exception | None]" = field(default_factory=queue.SimpleQueue)
    _processes: list["subprocess.Popen[str]"] = field(default_factory=list)
    _closing: bool = False

    def events(self) -> Iterator[Event]:
        """Run all tasks; yield what happens. Workers end with this generator, however it ends."""
        for task in self.tasks:
            self._todo.put(task)
        threads = [threading.Thread(target=self._tend, daemon=True) for _ in range(self.count)]
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
            while not self._todo.empty():  # after the deadline
                task = self._todo.get()
                yield Event(kind="out-of-time", spec=task.spec, trial=task.trial)
        finally:
            self._closing = True
            for process in self._processes:
                process.kill()

    def _tend(self) -> None:
        """Start a worker and feed it until no task is left."""
        try:
            with subprocess.Popen(
                WORKER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C reaches the parent alone
                env={**KEEP_FREED_MEMORY, **os.environ},
            ) as process:
                self._processes.append(process)
                while not self._closing and not self._late():
                    try:
                        task = self._todo.get_nowait()
                    except queue.Empty:
                        break
                    self._follow(task, process)
                process.kill()
        except Exception as error:
            self._events.put(error)
        finally:
            self._events.put(None)

    def _late(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline

    def _follow(self, task: _Task, process: "subprocess.Popen[str]") -> None:
        """Hand over a task and pass its events on until it is over."""
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # a worker that is gone is told apart below
            process.stdin.write(task.message)
            process.stdin.flush()
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # the worker ended in the middle of it
            event = json.loads(line)
            if event["event"] == "error":
                raise UserError(event["message"])
            if event["event"] == "crash":
                raise RuntimeError(f"trial {task.trial} of {task.spec.id} crashed in its worker:\n{event['message']}")
            self._events.put(_event(task, event))
            if event["event"] in ("finished", "failed", "out-of-time"):
                return
        process.kill()
        raise UserError(
            f"the worker of trial {task.trial} of {task.spec.id} was ended from outside (exit code {process.wait()}; out of "
            "memory?); all rows so far are safe, the same command goes on"
        )


def _event(task: _Task, value: dict[str, Any]) -> Event:
    row = Row.from_line(value["line"]) if "line" in value else None
    return Event(
        kind=value["event"],
        spec=task.spec,
        trial=task.trial,
        control=row.control if row else value.get("control", TICKET),
        level=row.level if row else value.get("level"),
        epoch=value.get("epoch"),
        top1=value.get("top1"),
        row=row,
        message=value.get("message"),
    )
