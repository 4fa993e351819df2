"""What is wrong with a job, as far as that shows without touching the disk."""

from collections.abc import Sequence

import torch

from fourfold import data
from fourfold.execution.jobs import Job
from fourfold.execution.pool import MOST_WORKERS
from fourfold.execution.ranks import check_launch
from fourfold.lottery.controls import check_controls
from fourfold.parts import check_fit, facts, is_own_data, look_in, measure
from fourfold.record import Cluster, Spec, UserError, launched
from fourfold.record.checks import check_file_name, check_number_of
from fourfold.train import resolve_device, steps_per_epoch
from fourfold.train.engines.optimizer import check_optimizer
from fourfold.train.precision import check_precision
from fourfold.train.saving import check_checkpoint

MOST_TRIALS = 1_000_000
"""More can only be a slip of the keyboard, and would take days to be planned."""


def check(job: Job) -> None:
    """Raise `UserError` for anything that can be seen to be wrong without touching the disk."""
    specs = job.specs
    check_number_of("trials", job.trials, 1, MOST_TRIALS)
    check_number_of("workers", job.workers, 0, MOST_WORKERS)
    if job.workers == 0 and (job.cluster or launched()):
        raise UserError("`workers` (=0) cannot be combined with a cluster or torchrun: it runs in this process alone")
    if job.budget_seconds is not None and not job.budget_seconds > 0:
        raise UserError(f"`budget_seconds` (={job.budget_seconds}) must be above 0")
    if any(level < 0 for level in job.keep):
        raise UserError(f"`keep` (={list(job.keep)}) must be levels, from 0 (dense) up")
    if not specs:
        raise UserError("there is nothing to run: name at least one algebra")
    if len({spec.id for spec in specs}) < len(specs):
        raise UserError("one experiment is named twice")
    if job.cluster:
        if launched():
            raise UserError("`--executor ray` must be left out under torchrun, whose processes all train one network")
        _check_device(job.device, job.cluster)
    else:
        _check_precisions(specs, resolve_device(job.device))
    check_launch(specs, job.workers, job.parts)
    check_controls(specs, job.controls, job.control_levels)
    check_checkpoint(job.checkpoint)
    if job.control_levels is not None and not job.controls:
        raise UserError(f"`control_levels` (={list(job.control_levels)}) must be left out without `controls`, which it is for")
    if job.data_dir is not None:
        look_in(job.data_dir)
    for spec in specs:
        check_file_name("spec.preset", spec.preset)
        measure(spec)
        _check_images(spec)
        _check_rewinding(spec)
        check_optimizer(spec.train)
        check_fit(spec)
        last = spec.stop.max_level
        for name, levels in (("keep", job.keep), ("control_levels", job.control_levels or ())):
            if last is not None and any(level > last for level in levels):
                raise UserError(f"`{name}` (={list(levels)}) names a level after the last one, {last}")


def _check_precisions(specs: Sequence[Spec], device: torch.device) -> None:
    """Refuse what `fourfold.train.precision` could not do for all specs in one process."""
    precisions = {spec.train.precision for spec in specs}
    for precision in precisions:
        check_precision(precision, device)
    if "tf32" in precisions and len(precisions) > 1:
        raise UserError("`train.precision` (='tf32') holds for a whole process: run other precisions by another command")


def _check_device(device: str, cluster: Cluster) -> None:
    """Refuse a device that Ray cannot give: which GPU a trial gets is for Ray to say."""
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"`device` (={device!r}) must be auto, cpu or cuda on a cluster")
    if device == "cpu" and cluster.gpus_per_trial is not None:
        raise UserError(f"`gpus_per_trial` (={cluster.gpus_per_trial}) must be left out with `device` (='cpu')")


def _check_images(spec: Spec) -> None:
    """Refuse sizes that the official images do not have: batches, crops and held-out images beyond them."""
    if is_own_data(spec):
        facts(spec)  # which loads them; a batch may be larger than all of them
        return
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
    images = facts(spec).train_items - spec.data.validation
    steps = spec.train.epochs * steps_per_epoch(images, spec.train.batch_size)
    if spec.prune.rewind == "step" and (spec.prune.rewind_to or 0) >= steps:
        raise UserError(f"`prune.rewind_to` (={spec.prune.rewind_to}) must be below the {steps} steps of a training")
    if spec.prune.rewind == "fine-tune" and spec.train.rate(steps - 1, spec.train.epochs - 1, steps) == 0:
        raise UserError(
            f"`prune.rewind` (='fine-tune') must be another where the last of {steps} steps has a learning rate of 0"
        )
