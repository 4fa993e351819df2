"""`run` in processes that torchrun started: all of them train one network, trial after trial."""

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fourfold.execution.events import Event, OnEvent, event_of
from fourfold.execution.interrupts import on_interrupt
from fourfold.execution.jobs import Job, Trial
from fourfold.execution.serving import LOCK_WAIT_SECONDS, Clock, check_same_data, create_store, run_trial_here
from fourfold.execution.shared_store import SharedStore
from fourfold.lottery.levels import Experiment
from fourfold.lottery.rows import all_rows
from fourfold.nn import is_batch_norm
from fourfold.parts import build, load
from fourfold.record import Launch, Row, Spec, UserError, launched
from fourfold.train import Ranks, join, single_thread, versions

PARTS = 4
"""Parts of a batch on the CPU, so that 1, 2 and 4 ranks give the same rows to the last bit."""


def check_launch(specs: Sequence[Spec], workers: int | None, parts: int | None) -> None:
    """Raise `UserError` for settings that do not fit how this process was started."""
    launch = launched()
    if launch is None:
        if parts is not None:
            raise UserError(f"`parts` (={parts}) must be left out in a single process: they are for those that torchrun starts")
        return
    if workers is not None:
        raise UserError(f"`workers` (={workers}) must be left out under torchrun, whose processes all train one network")
    smallest = min(spec.train.batch_size for spec in specs)
    if launch.world > smallest:
        raise UserError(f"{launch.world} ranks are more than the {smallest} images of a batch: start at most {smallest}")
    if parts is not None and not (parts >= 1 and parts % launch.world == 0 and parts <= smallest):
        raise UserError(
            f"`parts` (={parts}) must be a multiple of the {launch.world} ranks, and at most the {smallest} images of a batch"
        )


def default_parts(spec: Spec, world: int, device: torch.device) -> int:
    """Return the parts of a spec's batches: one a rank, or `PARTS` where that makes rows the same for any number of ranks.

    Batch norm would see the parts that are computed at the same time alone, and a GPU is no faster on smaller parts.
    """
    divides = PARTS % world == 0 and spec.train.batch_size >= PARTS
    return PARTS if divides and device.type == "cpu" and not _has_batch_norm(spec) else world


def run_together(job: Job, launch: Launch, device: torch.device, on_event: OnEvent) -> list[Row]:
    """Run what is missing, and return all rows; the first rank calls `on_event`.

    Raises:
        UserError: a mistake, or a rank that is gone; reported by one rank, while the others end silently.
        KeyboardInterrupt: Ctrl-C ended the training at a step.
    """
    stopped = threading.Event()
    with on_interrupt(stopped.set, patient=True):
        rows = _run_together(job, launch, device, on_event, stopped)
    if stopped.is_set():
        raise KeyboardInterrupt
    return rows


def _run_together(job: Job, launch: Launch, device: torch.device, on_event: OnEvent, stopped: threading.Event) -> list[Row]:
    with join(launch, device) as ranks, single_thread():
        ranks.agree_on_settings(_settings(job, device))
        digests = _load_data(job, ranks, launch, on_event)
        if ranks.first and job.parts and job.parts > ranks.world and any(map(_has_batch_norm, job.specs)):
            share = f"{ranks.world} of {job.parts} parts of a batch at a time"
            message = f"batch norm sees {share}, so rows depend on the number of ranks"
            on_event(Event(kind="notice", spec=job.specs[0], message=message))
        stores = []
        for spec in job.specs:
            if ranks.first:
                notices: list[str] = []
                create_store(job, spec, digests[spec.data.name], notices.append)
                for message in notices:
                    on_event(Event(kind="notice", spec=spec, message=message))
            stores.append(SharedStore(job.out / spec.id, ranks))
        with contextlib.ExitStack() as stack:
            for store in stores:
                stack.enter_context(store.lock("run", LOCK_WAIT_SECONDS))
                store.sweep()
            for trial in range(job.trials):
                for spec, store in zip(job.specs, stores, strict=True):
                    if job.incomplete(store, trial):
                        _run_trial(job, spec, store, trial, ranks, device, on_event, stopped)
            return all_rows(stores, job.trials, list(job.controls))


def _run_trial(
    job: Job,
    spec: Spec,
    store: SharedStore,
    trial: int,
    ranks: Ranks,
    device: torch.device,
    on_event: OnEvent,
    stopped: threading.Event,
) -> None:
    ranks = replace(ranks, parts=job.parts or default_parts(spec, ranks.world, device))
    experiment = replace(Experiment.prepare(spec, job.data_dir, device, download=False), ranks=ranks)
    first = ranks.from_first((experiment.data or "").encode()).decode()
    check_same_data(experiment, first or None)
    named = Trial(spec=spec, number=trial, job=job)

    def send(kind: str, **content: Any) -> None:
        if ranks.first:
            on_event(event_of(named, {"event": kind, **content}))

    clock = Clock.until(job.deadline, ranks)
    clock.stopped = stopped
    run_trial_here(experiment, store, trial, clock, send, job)


def _load_data(job: Job, ranks: Ranks, launch: Launch, on_event: OnEvent) -> dict[str, str]:
    """Let one rank of each machine download what is missing, and return the digests of the data that it has, by name."""
    digests: dict[str, str] = {}
    for spec in {spec.data.name: spec for spec in job.specs}.values():
        if launch.local_rank == 0:
            images = load(spec, job.data_dir)
            digests[spec.data.name] = images.digest
            for notice in images.notices if ranks.first else ():
                on_event(Event(kind="notice", spec=spec, message=notice))
    ranks.wait()
    return digests


def _has_batch_norm(spec: Spec) -> bool:
    return any(is_batch_norm(module) for module in build(spec, device="meta").modules())


def _settings(job: Job, device: torch.device) -> dict[str, Any]:
    """Return what all ranks must have in common."""
    return {
        **versions(),
        "device": device.type,
        "specs": [spec.id for spec in job.specs],
        "trials": job.trials,
        "keep": list(job.keep),
        "controls": list(job.controls),
        "control_levels": None if job.control_levels is None else list(job.control_levels),
        "code": [dict(spec.trust.digests) if spec.trust else {} for spec in job.specs],
        "parts": job.parts,
        "checkpoint": job.checkpoint,
    }
