"""What a run is going to do, and about how long that takes, before it does it."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourfold import data
from fourfold.lottery.controls import controls_left, controls_of, is_ticket
from fourfold.models import Sizes
from fourfold.parts import sizes_of_real_twin
from fourfold.record import RunStore, Spec
from fourfold.timing.clock import Clock, is_perceptron, sizes_of
from fourfold.train import multiplies_bf16

FRACTION_PLANNED = 0.02
"""Trials that end by accuracy are planned down to this fraction of the real network; small networks often reach lower."""

PROCESS_BYTES = 2**29
"""Memory of a process that trains, without images and network: 387 to 423 MB were measured with small ones."""

PARAMETER_BYTES = 80
"""Memory that training takes for each parameter, activations counted in: 72 were measured for ResNet-18 in batches of 100."""


BF16_FROM_SECONDS = 60
"""Levels that take longer in float32 are timed in bf16 too, to say what it would save."""


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
    engine: str | None
    """What will take the steps, as far as the timing of the level tells; None where it was not timed."""
    bf16_level_seconds: float | None
    """The same in bf16, where the spec does not ask for it; None where nothing would be saved, or too little to be timed."""
    seconds: float
    """Estimated work left for those levels, in seconds of one worker."""
    control_seconds: float
    """The same of their controls."""
    folder: Path
    level_costs: tuple[float, ...] = ()
    """Estimated seconds of a worker for each of those levels."""
    items: tuple[int, int] = (0, 0)
    """Training and test items that the time is estimated for."""


def plan(
    specs: Sequence[Spec],
    *,
    trials: int,
    out: Path | str,
    device: torch.device,
    controls: Collection[str] = (),
    control_levels: Collection[int] | None = None,
    data_dir: Path | None = None,
    clock: Clock | None = None,
) -> list[Plan]:
    """Return the plan of each spec; nothing is written. The arguments are those of `lottery.run`, and what times the steps."""
    plans, clock = [], clock or Clock(device, data_dir)
    for spec in specs:
        sizes = sizes_of(spec)
        sizes_real = sizes_of_real_twin(spec) or sizes
        levels = planned_levels(spec, sizes, sizes_real)
        store = RunStore.expecting(Path(out), spec)
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
                engine=clock.engine(spec),
                bf16_level_seconds=_bf16_level_seconds(clock, spec),
                seconds=sum(clock.level_seconds(spec, spec.prune.density(level)) for level in left),
                control_seconds=sum(
                    _control_seconds(clock, spec, control, level)
                    for trial in range(trials)
                    for control, level in _controls_left(store, spec, trial, levels, controls, control_levels)
                ),
                folder=store.path,
                level_costs=tuple(clock.level_seconds(spec, spec.prune.density(level)) for level in range(levels)),
                items=clock.items(spec),
            )
        )
    return plans


def _bf16_level_seconds(clock: Clock, spec: Spec) -> float | None:
    if spec.train.precision is not None or clock.device.type != "cpu" or not multiplies_bf16(clock.device):
        return None
    in_float32 = clock.level_seconds(spec)
    if in_float32 < BF16_FROM_SECONDS or is_perceptron(spec):
        return None
    in_bf16 = clock.level_seconds(replace(spec, train=replace(spec.train, precision="bf16")))
    return in_bf16 if in_bf16 < in_float32 else None


def _controls_left(
    store: RunStore, spec: Spec, trial: int, planned: int, controls: Collection[str], levels: Collection[int] | None
) -> list[tuple[str, int]]:
    """Return what `controls_left` will, once the trial has ended with its planned levels."""
    if store.path.exists() and (store.finished(trial) or store.failure(trial) is not None):
        return controls_left(store, trial, controls, levels)
    return controls_of(spec, max(planned, len(store.rows(trial))), controls, levels)


def _control_seconds(clock: Clock, spec: Spec, control: str, level: int) -> float:
    """Return the estimated time of a control of a level."""
    density = spec.prune.density(level)
    if is_ticket(control, level):
        return 0
    if control == "small-dense":
        return clock.narrow_seconds(spec, density)
    return clock.level_seconds(spec.real_twin if control == "equal-macs" else spec, density)


def trial_memory(spec: Spec, images: Any) -> int:
    """Return about how many bytes of memory a process needs that runs a trial; images mapped from disk are not counted, nor
    data of the user's own.
    """
    arrays = (images.train_images, images.test_images) if isinstance(images, data.ImageSet) else ()
    sizes = [array.nbytes for array in arrays if not isinstance(array, np.memmap)]
    return PROCESS_BYTES + sum(sizes) + PARAMETER_BYTES * sizes_of(spec).parameters


def planned_levels(spec: Spec, sizes: Sizes, sizes_real: Sizes, fraction: float = FRACTION_PLANNED) -> int:
    """Return the levels of a trial that are planned for, the dense one included: to its bound, else to a fraction of real."""
    if spec.stop.max_level is not None:
        return spec.stop.max_level + 1
    density = fraction * sizes_real.parameters / sizes.parameters
    return 1 + max(0, math.ceil(math.log(density) / math.log(1 - spec.prune.fraction)))
