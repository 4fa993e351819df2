"""The flags of every command that trains: on which machines, with what, and for how long."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fourfold.cli.arguments import Maybe
from fourfold.cli.duration import parse_duration
from fourfold.record import Cluster, Spec, UserError

AUTO = "auto"

if TYPE_CHECKING:
    import torch

    from fourfold.execution import Job


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What runs trials, and how long it may."""

    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda or cuda:N."""
    data_dir: Maybe[Path] = None
    """Where data sets lie; default $FOURFOLD_DATA, else the cache, with download."""
    workers: Maybe[int] = None
    """Trials at a time; default one a core, or one on a GPU. 0 runs them in this process, where breakpoints work."""
    budget: Maybe[str] = None
    """Stop cleanly within this time, such as 9m or 1h30m, at an optimiser step."""
    checkpoint: str = AUTO
    """When a level is saved while it is trained: epoch, off, or a time such as 5m; default after every epoch and every 5m
    inside one, as long as that takes no more than a hundredth of the time."""
    executor: str = "local"
    """Whether this machine runs the trials, or Ray: a cluster, or without an address a Ray of its own on this machine."""
    address: Maybe[str] = None
    """HOST:PORT of the head of a Ray cluster that this machine is part of; default $RAY_ADDRESS."""
    gpus_per_trial: Maybe[float] = None
    """Part of a GPU that Ray gives each trial, such as 0.25; default 1 where there are GPUs."""
    memory_per_trial: Maybe[float] = None
    """GiB of memory that each trial asks Ray for; default estimated."""

    @property
    def budget_seconds(self) -> float | None:
        """The time there is; None is any."""
        return None if self.budget is None else parse_duration(self.budget)

    @property
    def checkpoint_every(self) -> str | float:
        """When a level is saved while it is trained, as `fourfold.run` takes it."""
        return self.checkpoint if self.checkpoint in (AUTO, "epoch", "off") else parse_duration(self.checkpoint, "--checkpoint")

    @property
    def cluster(self) -> Cluster | None:
        """The cluster that was named; None for this machine."""
        settings: dict[str, Any] = {name: getattr(self, name) for name in ("address", "gpus_per_trial", "memory_per_trial")}
        if self.executor == "ray":
            return Cluster(**settings)
        if self.executor != "local":
            raise UserError(f"`--executor` (={self.executor!r}) must be local or ray")
        for name, value in settings.items():
            if value is not None:
                raise UserError(f"`--{name.replace('_', '-')}` (={value}) must be left out, or --executor ray given with it")
        return None

    @property
    def first_flag(self) -> str | None:
        """The first flag with another value than its default, for commands that train sometimes; None if there is none."""
        names = (field.name for field in fields(self) if getattr(self, field.name) != field.default)
        return next((f"--{name.replace('_', '-')}" for name in names), None)

    @property
    def place(self) -> "torch.device":
        """Where this machine would train, for estimates."""
        from fourfold.train import resolve_device

        return resolve_device("auto" if self.cluster else self.device)

    @property
    def at_a_time(self) -> int:
        """Trials at a time, for estimates: one on a cluster that is joined, whose size is not known before."""
        from fourfold.execution import default_workers

        joined = self.cluster is not None and self.cluster.joined is not None
        if self.workers is not None:
            return max(1, self.workers)
        return 1 if joined else default_workers(self.place)

    def check_early(self, *, dry_run: bool = False) -> None:
        """Raise `UserError` for what can be seen before torch is imported; a dry run needs no cluster to be there."""
        _ = self.budget_seconds, self.checkpoint_every
        if self.cluster and not dry_run:
            self.cluster.greet()

    def job(self, specs: Sequence[Spec], **settings: Any) -> "Job":
        """Return what these machines are asked for, checked as far as that goes without touching the disk.

        Args:
            specs: The experiments.
            settings: The other fields of a `Job`.
        """
        from fourfold.execution import Job, check

        job = Job(
            specs=tuple(specs),
            device=self.device,
            data_dir=self.data_dir,
            workers=self.workers,
            budget_seconds=self.budget_seconds,
            cluster=self.cluster,
            checkpoint=self.checkpoint_every,
            **settings,
        )
        check(job)
        return job


Flags = Annotated[Machines, tyro.conf.arg(name="")]
"""As a command's argument: each field is a flag, without a prefix."""

HERE = Machines()
"""This machine, with everything it has."""
