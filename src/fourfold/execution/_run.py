"""`run`: all trials of some specs, on this machine or a cluster, resumed from whatever is on disk."""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from fourfold import data, presets
from fourfold.execution.pool import LOCK_WAIT_SECONDS, MOST_WORKERS, Event, OnEvent, Pool, Task, default_workers
from fourfold.execution.ranks import Work, check_launch, run_together
from fourfold.execution.ray.cluster import Connection
from fourfold.execution.serving import Controls
from fourfold.lottery.building import measure
from fourfold.lottery.controls import check_controls, controls_left
from fourfold.lottery.keeping import not_kept
from fourfold.lottery.rows import all_rows
from fourfold.lottery.saving import AUTO, CheckpointEvery, check_checkpoint
from fourfold.record import Cluster, Row, RunStore, Spec, UserError, launched
from fourfold.record.checks import check_file_name, check_number_of
from fourfold.timing.planning import trial_memory
from fourfold.train import resolve_device, steps_per_epoch, versions
from fourfold.train.precision import check_precision

MOST_TRIALS = 1_000_000
"""More can only be a slip of the keyboard, and would take days to be planned."""

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
    on_event: OnEvent = lambda event: None,
) -> list[Row]:
    """Run what is missing of some specs' trials, and return all their rows, those of the controls last.

    Every level is on disk before the next begins, and a level that takes long has a checkpoint, so a run that ended in any
    way goes on when it is called again, and its rows are those of a run that was never interrupted.

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
            one. With a cluster: at most so many; None leaves it to Ray.
        budget_seconds: Stop before this much time has gone, at an optimiser step, and keep a checkpoint.
        keep: Levels whose trained weights are kept; `load_trained` reads them. A level that is done without them is trained
            again.
        controls: Controls to run after a trial, names of `fourfold.record.CONTROLS`.
        control_levels: Levels that they are run for; None means all that the trial has.
        cluster: The Ray cluster that runs the trials; None runs them here, without Ray.
        parts: Under torchrun: parts of each batch, which the processes share; None means `default_parts`.
        checkpoint: When a level is saved while it is trained: `auto` (after every epoch, and every five minutes inside one, as
            long as that takes no more than a hundredth of the time), `epoch`, `off`, or seconds.
        on_event: Called in this thread with everything that happens.

    Raises:
        UserError: a mistake in the arguments, the data or the folder, in one sentence.
    """
    specs = specs_of(specs)
    out, data_dir = Path(out), Path(data_dir) if data_dir else None
    deadline = None if budget_seconds is None else time.monotonic() + budget_seconds
    check(specs, trials, workers, budget_seconds, device, keep, controls, control_levels, cluster, parts, checkpoint)
    if launch := launched():
        work = Work(
            specs=specs,
            trials=trials,
            out=out,
            data_dir=data_dir,
            deadline=deadline,
            keep=keep,
            controls=Controls(names=controls, levels=control_levels),
            parts=parts,
            checkpoint=checkpoint,
        )
        return run_together(work, launch, resolve_device(device), on_event)
    memory, digests = 0, {}
    for spec in {spec.data.name: spec for spec in specs}.values():
        images = data.load(spec.data.name, data_dir)  # downloads and complains here, before anything is written
        memory = max(memory, *(trial_memory(other, images) for other in specs if other.data.name == spec.data.name))
        for other in specs:
            if other.data.name == spec.data.name:
                data.check_counts(images, other.data)
        digests[spec.data.name] = images.digest
        for notice in images.notices:
            on_event(Event(kind="notice", spec=spec, message=notice))
    with contextlib.ExitStack() as stack:
        connection = None
        if cluster:
            request = {
                "cpus": workers or default_workers(torch.device("cpu")),
                "workers": workers,
                "trials": trials * len(specs),
                "device": device,
                "datasets": sorted({spec.data.name for spec in specs}),
                "data_dir": str(data_dir.absolute()) if data_dir else None,
                "memory": memory,
                "versions": versions(),
                "deadline": deadline,
            }
            connection = stack.enter_context(Connection(cluster, request))
        stores = [RunStore.create(out, spec, digests[spec.data.name]) for spec in specs]
        for store in stores:
            stack.enter_context(store.lock("run", LOCK_WAIT_SECONDS))
            store.sweep()
        shared = {
            "out": str(out.absolute()),
            "data_dir": str(data_dir.absolute()) if data_dir else None,
            "device": device,
            "deadline": deadline,
            "keep": list(keep),
            "checkpoint": checkpoint,
            "controls": list(controls),
            "control_levels": None if control_levels is None else list(control_levels),
        }
        tasks = [
            Task(spec=spec, trial=trial, message=_message(spec, trial, shared | {"data": digests[spec.data.name]}))
            for trial in range(trials)
            for spec, store in zip(specs, stores, strict=True)
            if not store.finished(trial)
            or controls_left(store, trial, controls, control_levels)
            or not_kept(store, trial, keep)
        ]
        for event in connection.events(tasks) if connection else _here(tasks, workers, device, deadline):
            on_event(event)
        return all_rows(stores, trials, controls)


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


def _here(tasks: Sequence[Task], workers: int | None, device: str, deadline: float | None) -> Iterator[Event]:
    """Run tasks on this machine."""
    place = resolve_device(device)
    count = min(workers or default_workers(place), len(tasks))
    return Pool(tasks, count, deadline, shared=place.type == "cuda").events()


def check(
    specs: Sequence[Spec],
    trials: int,
    workers: int | None,
    budget_seconds: float | None,
    device: str,
    keep: Sequence[int] = (),
    controls: Sequence[str] = (),
    control_levels: Sequence[int] | None = None,
    cluster: Cluster | None = None,
    parts: int | None = None,
    checkpoint: CheckpointEvery = AUTO,
) -> None:
    """Raise `UserError` for anything that can be seen to be wrong without touching the disk."""
    check_number_of("trials", trials, 1, MOST_TRIALS)
    check_number_of("workers", workers, 1, MOST_WORKERS)
    if budget_seconds is not None and not budget_seconds > 0:
        raise UserError(f"`budget_seconds` (={budget_seconds}) must be above 0")
    if any(level < 0 for level in keep):
        raise UserError(f"`keep` (={list(keep)}) must be levels, from 0 (dense) up")
    if not specs:
        raise UserError("there is nothing to run: name at least one algebra")
    if len({spec.id for spec in specs}) < len(specs):
        raise UserError("one experiment is named twice")
    if cluster:
        if launched():
            raise UserError("`--executor ray` must be left out under torchrun, whose processes all train one network")
        _check_device(device, cluster)
    else:
        _check_precisions(specs, resolve_device(device))
    check_launch(specs, workers, parts)
    check_controls(specs, controls, control_levels)
    check_checkpoint(checkpoint)
    if control_levels is not None and not controls:
        raise UserError(f"`control_levels` (={list(control_levels)}) must be left out without `controls`, which it is for")
    for spec in specs:
        check_file_name("spec.preset", spec.preset)
        measure(spec)
        _check_images(spec)
        _check_rewinding(spec)
        last = spec.stop.max_level
        for name, levels in (("keep", keep), ("control_levels", control_levels or ())):
            if last is not None and any(level > last for level in levels):
                raise UserError(f"`{name}` (={list(levels)}) names a level after the last one, {last}")


def _check_precisions(specs: Sequence[Spec], device: torch.device) -> None:
    """Refuse what `fourfold.train.precision` could not do for all specs in one process."""
    found = {spec.train.precision for spec in specs}
    for precision in found:
        check_precision(precision, device)
    if "tf32" in found and len(found) > 1:
        raise UserError("`train.precision` (='tf32') holds for a whole process: run other precisions by another command")


def _check_device(device: str, cluster: Cluster) -> None:
    """Refuse a device that Ray cannot give: which GPU a trial gets is for Ray to say."""
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"`device` (={device!r}) must be auto, cpu or cuda on a cluster")
    if device == "cpu" and cluster.gpus_per_trial is not None:
        raise UserError(f"`gpus_per_trial` (={cluster.gpus_per_trial}) must be left out with `device` (='cpu')")


def _check_images(spec: Spec) -> None:
    """Refuse sizes that the official images do not have: batches, crops and held-out images beyond them."""
    about = data.info_for(spec.data)
    if spec.data.validation >= about.train_images:
        raise UserError(
            f"`data.validation` (={spec.data.validation}) must be less than the {about.train_images} training images of "
            f"{about.name}"
        )
    if spec.data.crop is not None and spec.data.crop >= about.size:
        raise UserError(f"`data.crop` (={spec.data.crop}) must be below the {about.size} pixels of {about.name}'s images")
    if spec.train.batch_size > about.train_images:
        raise UserError(
            f"`train.batch_size` (={spec.train.batch_size}) must be at most the {about.train_images} training images of "
            f"{about.name}"
        )


def _check_rewinding(spec: Spec) -> None:
    """Refuse a step to rewind to that leaves none to train, and fine-tuning at a rate of 0."""
    images = data.info_for(spec.data).train_images - spec.data.validation
    steps = spec.train.epochs * steps_per_epoch(images, spec.train.batch_size)
    if spec.prune.rewind == "step" and (spec.prune.rewind_to or 0) >= steps:
        raise UserError(f"`prune.rewind_to` (={spec.prune.rewind_to}) must be below the {steps} steps of a training")
    if spec.prune.rewind == "fine-tune" and spec.train.rate(steps - 1, spec.train.epochs - 1) == 0:
        raise UserError(
            f"`prune.rewind` (='fine-tune') must be another where the last of {steps} steps has a learning rate of 0"
        )


def _message(spec: Spec, trial: int, shared: dict[str, Any]) -> str:
    return json.dumps({"spec": spec.to_json(), "trial": trial, **shared}) + "\n"
