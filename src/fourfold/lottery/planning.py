"""What a run is going to do, and about how long that takes, before it does it."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fourfold import data
from fourfold.lottery.building import build, input_shape, measure
from fourfold.models import Sizes
from fourfold.record import RunStore, Spec
from fourfold.train import single_thread, steps_per_epoch

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
    """Estimated from a few optimiser steps on random images."""
    seconds: float
    """Estimated work left for those levels, in seconds of one worker."""
    folder: Path


def plan(specs: Sequence[Spec], *, trials: int, out: Path | str, device: torch.device) -> list[Plan]:
    """Return the plan of each spec; nothing is written."""
    plans = []
    for spec in specs:
        sizes, sizes_real = measure(spec), measure(spec.real_twin)
        levels = planned_levels(spec, sizes, sizes_real)
        store = RunStore(Path(out) / spec.id)
        done = [len(store.rows(trial)) for trial in range(trials)]
        left = sum(0 if store.finished(trial) else max(1, levels - done[trial]) for trial in range(trials))
        trainings = 2 if spec.prune.search == "continue" else 1  # of each level
        level_seconds = _step_seconds(spec, device) * trainings * spec.train.epochs * _steps_per_epoch(spec)
        plans.append(
            Plan(
                spec=spec,
                sizes=sizes,
                sizes_real=sizes_real,
                levels=levels,
                levels_done=sum(done),
                level_seconds=level_seconds,
                seconds=left * level_seconds,
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


def _steps_per_epoch(spec: Spec) -> int:
    return steps_per_epoch(data.info_for(spec.data).train_images - spec.data.validation, spec.train.batch_size)


def _step_seconds(spec: Spec, device: torch.device, patience_seconds: float = 0.5) -> float:
    """Time of a training step, evaluation not counted: the fastest of those that fit into half a second."""
    info = data.info_for(spec.data)
    network = build(spec, seed=0).to(device)
    images = torch.randn(spec.train.batch_size, *input_shape(spec), device=device)
    labels = torch.randint(0, info.num_classes, (spec.train.batch_size,), device=device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)

    def step() -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
        return time.perf_counter() - start

    with single_thread():
        step()
        seconds = [step()]
        while sum(seconds) < patience_seconds:
            seconds.append(step())
    return min(seconds)
