"""`stability`: what is missing of the connectivity of some runs' levels, trained by workers."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fourfold import tasks
from fourfold.execution._run import pool_of
from fourfold.execution.events import Event, OnEvent, broken_trials
from fourfold.execution.jobs import Job, Trial
from fourfold.execution.pool import LOCK_WAIT_SECONDS, MOST_WORKERS
from fourfold.execution.serving import BROKEN
from fourfold.lottery._stability import Line, check_line, check_masks, missing, overlaps
from fourfold.parts import load
from fourfold.record import RunStore, UserError
from fourfold.record.checks import check_number_of
from fourfold.record.same_run import check_metric
from fourfold.train import resolve_device


def stability(
    stores: Sequence[RunStore],
    line: Line,
    *,
    device: str = "auto",
    data_dir: Path | None = None,
    workers: int | None = None,
    budget_seconds: float | None = None,
    on_event: OnEvent = lambda event: None,
) -> None:
    """Measure what is missing of the connectivity of some runs' levels, and the overlap of their trials' masks.

    What is on disk is not measured again. A step is two trainings.

    Args:
        stores: The runs. Levels that are measured need their masks on disk, as overlaps do that are not known yet.
        line: What to measure.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data_dir: Where the data lie; default `$FOURFOLD_DATA`, else the cache.
        workers: Trials at a time; default as for `run`.
        budget_seconds: Stop before this much time has gone.
        on_event: Called in this thread; every measurement is an event of the kind `connectivity`.

    Raises:
        UserError: a mistake in the arguments, the data or the folders, in one sentence; or code of the user's that failed in a
            trial, once the others have ended.
    """
    check_number_of("workers", workers, 1, MOST_WORKERS)
    if budget_seconds is not None and not budget_seconds > 0:
        raise UserError(f"`budget_seconds` (={budget_seconds}) must be above 0")
    for store in stores:
        check_line(store, line)
        check_masks(store, line)
    deadline = None if budget_seconds is None else time.monotonic() + budget_seconds
    specs = {spec.data.name: spec for spec in (store.spec() for store in stores)}
    digests = {name: load(spec, data_dir).digest for name, spec in specs.items()}
    for store in stores:
        store.check_data(digests[store.spec().data.name])
        check_metric(store, tasks.get(store.spec()).metric)
    resolve_device(device)  # an unknown one is an error before anything is written
    with contextlib.ExitStack() as stack:
        for store in stores:
            stack.enter_context(store.lock("run", LOCK_WAIT_SECONDS))
            store.save_overlaps(overlaps(store))
        job = Job(specs=(), device=device, data_dir=data_dir, workers=workers, deadline=deadline, line=line, data=digests)
        trials = [
            Trial(spec=store.spec(), number=trial, job=replace(job, specs=(store.spec(),), out=store.path.parent))
            for store in stores
            for trial in store.trials()
            if missing(store, trial, line)
        ]
        broken: list[Event] = []
        for event in pool_of(job, trials).events():
            if event.kind == BROKEN:
                broken.append(event)
            on_event(event)
    if error := broken_trials(broken, "measurements"):
        raise error
