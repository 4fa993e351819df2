"""`run`: all trials of some specs, on this machine or a cluster, resumed from whatever is on disk."""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fourfold import data, presets
from fourfold.execution.checks import check
from fourfold.execution.events import Event, OnEvent, broken_trials, event_of
from fourfold.execution.jobs import Job, Trial
from fourfold.execution.pool import LOCK_WAIT_SECONDS, Pool, default_workers
from fourfold.execution.ranks import run_together
from fourfold.execution.ray.cluster import Connection
from fourfold.execution.serving import BROKEN, Server, create_store
from fourfold.lottery.rows import all_rows
from fourfold.parts import is_own_data, load, pinned, uncounted
from fourfold.record import Cluster, Row, Spec, UserError, launched
from fourfold.timing.planning import trial_memory
from fourfold.train import resolve_device, versions
from fourfold.train.saving import AUTO, CheckpointEvery

Workers = Callable[[Job, Sequence[Trial]], Pool]

ALGEBRAS_OF_A_NAME = ("real", "quaternion")
"""What the name of a preset stands for where no algebra is named."""


def run(
    specs: Spec | str | Sequence[Spec | str],
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
    cluster: Cluster | None = None,
    parts: int | None = None,
    checkpoint: CheckpointEvery = AUTO,
    accept_changed_code: bool = False,
    on_event: OnEvent = lambda event: None,
) -> list[Row]:
    """Run what is missing of some specs' trials, and return all their rows, those of the controls last.

    Every level is on disk before the next begins, and a level that takes long has a checkpoint, so a run that ended in any
    way resumes when it is called again, and its rows are those of a run that was never interrupted.

    In a process that torchrun started, all its processes train one network after the other together: each must make the
    same call, and all return the same rows.

    Args:
        specs: One experiment or several; their trials are taken in turn. The name of a preset stands for its real and its
            quaternion network, as on the command line.
        trials: Trials of each spec; trial t is the same whatever their number.
        out: Folder in which each spec gets a folder named by its id.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data_dir: Where the data lie; default `$FOURFOLD_DATA`, else the cache, into which they are downloaded.
        workers: Trials at a time; default: as many as cores on a CPU, where each is a process, one on a GPU, where they share
            one. 0 runs one after the other in this process, where a debugger sees them. With a cluster: at most so many; None
            leaves it to Ray.
        budget_seconds: Stop before this much time has gone, at an optimiser step, and keep a checkpoint.
        keep: Levels whose trained weights are kept; `load_trained` reads them. A level that is done without them is trained
            again.
        controls: Controls to run after a trial, names of `fourfold.record.CONTROLS`.
        control_levels: Levels that they are run for; None means all that the trial has.
        cluster: The Ray cluster that runs the trials; None runs them here, without Ray.
        parts: Under torchrun: parts of each batch, which the processes share; None means `default_parts`.
        checkpoint: When a level is saved while it is trained: `auto` (after every epoch, and every five minutes inside one, as
            long as that takes no more than a hundredth of the time), `epoch`, `off`, or seconds.
        accept_changed_code: Whether a run is resumed with other code of the user's than it was started with.
        on_event: Called in this thread with everything that happens.

    Raises:
        UserError: a mistake in the arguments, the data or the folder, in one sentence; or code of the user's that failed in a
            trial, once the others have ended. With `workers=0` what that code raised is raised as it is.
    """
    job = Job(
        specs=tuple(specs_of(specs)),
        trials=trials,
        out=Path(out),
        device=device,
        data_dir=Path(data_dir) if data_dir else None,
        workers=workers,
        budget_seconds=budget_seconds,
        keep=tuple(keep),
        controls=tuple(controls),
        control_levels=None if control_levels is None else tuple(control_levels),
        cluster=cluster,
        parts=parts,
        checkpoint=checkpoint,
        accept_changed_code=accept_changed_code,
    )
    return run_job(job, on_event)


def run_job(job: Job, on_event: OnEvent = lambda event: None, workers: Workers | None = None) -> list[Row]:
    """Do what `run` does, for a job; `workers` makes the pool of worker processes, `pool_of` where it is None."""
    check(job)
    job = replace(job, specs=tuple(pinned(spec) for spec in job.specs))
    for spec in job.specs:
        if names := uncounted(spec):
            notice = f"not counted as MACs, and not pruned: {', '.join(names)}, which the network multiplies outside of layers"
            on_event(Event(kind="notice", spec=spec, message=notice))
    if job.budget_seconds is not None:
        job = replace(job, deadline=time.monotonic() + job.budget_seconds)
    if launch := launched():
        return run_together(job, launch, resolve_device(job.device), on_event)
    job, memory = _load_data(job, on_event)
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(Connection(job.cluster, _request(job, memory))) if job.cluster else None
        stores = []
        for spec in job.specs:
            notices: list[str] = []
            stores.append(create_store(job, spec, job.data[spec.data.name], notices.append))
            for message in notices:
                on_event(Event(kind="notice", spec=spec, message=message))
        for store in stores:
            stack.enter_context(store.lock("run", LOCK_WAIT_SECONDS))
            store.sweep()
        trials = [
            Trial(spec=spec, number=trial, job=job)
            for trial in range(job.trials)
            for spec, store in zip(job.specs, stores, strict=True)
            if job.incomplete(store, trial)
        ]
        broken: list[Event] = []

        def pass_on(event: Event) -> None:
            if event.kind == BROKEN:
                broken.append(event)
            on_event(event)

        if job.workers == 0:
            errors = _in_this_process(trials, pass_on)
            if errors and isinstance(errors[0], Exception):  # `SystemExit` and the like would end the caller without a word
                raise errors[0]
        else:
            for event in connection.events(trials) if connection else (workers or pool_of)(job, trials).events():
                pass_on(event)
        if error := broken_trials(broken, "rows"):
            raise error
        return all_rows(stores, job.trials, job.controls)


def specs_of(named: object) -> list[Spec]:
    """Return the specs that were given, or that presets' names stand for."""
    specs: list[Spec] = []
    for each in named if isinstance(named, Iterable) and not isinstance(named, str) else [named]:
        if isinstance(each, Spec):
            specs.append(each)
        elif isinstance(each, str):
            specs += [presets.get(each, algebra=algebra) for algebra in ALGEBRAS_OF_A_NAME]
        else:
            raise UserError(f"`specs` (={each!r}) must be a `Spec`, the name of a preset, or several of them")
    return specs


def _load_data(job: Job, on_event: OnEvent) -> tuple[Job, int]:
    """Load every data set once, before anything is written; return the job with their digests, and the bytes a trial needs."""
    memory, digests = 0, {}
    for name in dict.fromkeys(spec.data.name for spec in job.specs):
        specs = [spec for spec in job.specs if spec.data.name == name]
        images = load(specs[0], job.data_dir)
        digests[name] = images.digest
        for spec in specs:
            if not is_own_data(spec):
                data.check_counts(images, spec.data)
            memory = max(memory, trial_memory(spec, images))
        for notice in images.notices:
            on_event(Event(kind="notice", spec=specs[0], message=notice))
    return replace(job, data=digests), memory


def _request(job: Job, memory: int) -> dict[str, object]:
    """Return what the bridge to a Ray cluster asks it for."""
    return {
        "cpus": job.workers or default_workers(torch.device("cpu")),
        "workers": job.workers,
        "trials": job.trials * len(job.specs),
        "device": job.device,
        "datasets": sorted({spec.data.name for spec in job.specs if not is_own_data(spec)}),
        "data_dir": str(job.data_dir.absolute()) if job.data_dir else None,
        "memory": memory,
        "versions": versions(),
        "deadline": job.deadline,
    }


def pool_of(job: Job, trials: Sequence[Trial]) -> Pool:
    """Return the workers of this machine for some trials."""
    device = resolve_device(job.device)
    lanes = min(job.workers or default_workers(device), len(trials))
    return Pool(trials, lanes, job.deadline, shared=device.type == "cuda")


def _in_this_process(trials: Sequence[Trial], on_event: OnEvent) -> list[BaseException]:
    """Run trials one after the other in this thread; return what the user's code raised in some of them, as it was raised."""
    by_key = {trial.key: trial for trial in trials}

    def write(line: str) -> None:
        value = json.loads(line)
        on_event(event_of(by_key[value["run"], value["trial"]], value))

    server = Server(experiments_kept=1, raises=True)
    server.serve(trials, write)
    return server.broken
