"""What a run is going to do, and about how long that takes, before it does it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fourfold.lottery.clock import Clock, sizes_of
from fourfold.models import Sizes
from fourfold.record import RunStore, Spec

FRACTION_PLANNED = 0.02
"""Trials that end by accuracy are planned down to this fraction of the real network; small networks often go on."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One spec's part of a run."""

    spec: Spec
    sizes: Sizes
    sizes_real: Sizes
    levels: int
    """Levels a trial, dense one included: to the spec's bound, or to 2 % of the real network."""
    levels_done: int
    """Levels on disk, of all trials."""
    level_seconds: float
    """Estimated for the dense level; on a CPU those of perceptrons become shorter."""
    seconds: float
    """Estimated work left for those levels, in seconds of one worker."""
    folder: Path


def plan(specs: Sequence[Spec], *, trials: int, out: Path | str, device: torch.device) -> list[Plan]:
    """Return the plan of each spec; nothing is written."""
    plans, clock = [], Clock(device)
    for spec in specs:
        sizes, sizes_real = sizes_of(spec), sizes_of(spec.real_twin)
        levels = planned_levels(spec, sizes, sizes_real)
        store = RunStore(Path(out) / spec.id)
        done = [len(store.rows(trial)) for trial in range(trials)]
        left = [
            level
            for trial in range(trials)
            if not store.finished(trial)
            for level in range(done[trial], max(levels, done[trial] + 1))
        ]
        plans.append(
            Plan(
                spec=spec,
                sizes=sizes,
                sizes_real=sizes_real,
                levels=levels,
                levels_done=sum(done),
                level_seconds=clock.level_seconds(spec),
                seconds=sum(clock.level_seconds(spec, spec.prune.density(level)) for level in left),
                folder=store.path,
            )
        )
    return plans


def planned_levels(spec: Spec, sizes: Sizes, sizes_real: Sizes, fraction: float = FRACTION_PLANNED) -> int:
    """Return the levels of a trial that are planned for, the dense one included: to its bound, else to a fraction of real."""
    if spec.stop.max_level is not None:
        return spec.stop.max_level + 1
    density = fraction * sizes_real.parameters / sizes.parameters
    return 1 + max(0, math.ceil(math.log(density) / math.log(1 - spec.prune.fraction)))
