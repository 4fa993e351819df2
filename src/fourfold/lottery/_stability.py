"""The stability of a run's levels: their connectivity, and the overlap of the trials' masks, read from disk."""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from fourfold import parts, pruning
from fourfold.lottery._connectivity import connectivity
from fourfold.lottery.levels import Experiment
from fourfold.lottery.rows import mask_of_row, sizes_in_mask
from fourfold.parts import in_a_trial
from fourfold.record import ConnectivityRow, OverlapRow, Provenance, RunStore, UserError
from fourfold.record.checks import check_number_of
from fourfold.train import describe_device, steps_per_epoch, versions

MOST_POINTS = 10_000
"""Networks on a line; each is an evaluation."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is measured of a level: the line between two copies."""

    steps: tuple[int, ...] = (0,)
    """Optimiser steps up to which the copies are one network, each a measurement of its own."""
    levels: tuple[int, ...] | None = None
    """None means all."""
    points: int = 11
    """Networks measured on the line, both ends included."""


def check_line(store: RunStore, line: Line) -> None:
    """Raise `UserError` for what cannot be measured of a run."""
    spec = store.spec()
    if store.path.name != spec.id:
        raise UserError(f"{store.path} must be named {spec.id}, as its run is; rename it")
    if spec.prune.rewind != "start":
        raise UserError(
            f"{store.path.name} (`prune.rewind`={spec.prune.rewind!r}) must begin every level at the start: "
            "the copies of other levels would need their states"
        )
    check_number_of("points", line.points, 2, MOST_POINTS)
    images = parts.facts(spec).train_items - spec.data.validation
    last = spec.train.epochs * steps_per_epoch(images, spec.train.batch_size)
    if not all(0 <= step < last for step in line.steps):
        raise UserError(f"`steps` (={' '.join(map(str, line.steps))}) must lie in [0, {last}), the steps of a training")
    there = max((len(store.rows(trial)) for trial in store.trials()), default=0)
    if line.levels is not None and not all(0 <= level < there for level in line.levels):
        raise UserError(
            f"`levels` (={' '.join(map(str, line.levels))}) must lie in [0, {there}), the levels that {store.path.name} has"
        )


def check_masks(store: RunStore, line: Line) -> None:
    """Raise `UserError` unless the masks are on disk of all levels that `missing` tells; the dense one has none."""
    for trial in store.trials():
        rows = store.rows(trial)
        for level in {level for level, _ in missing(store, trial, line) if level}:
            mask_of_row(store, rows[level])


def missing(store: RunStore, trial: int, line: Line) -> list[tuple[int, int]]:
    """Return the levels and steps of a trial that are not measured yet."""
    done = {(row.level, row.connectivity.step) for row in store.connectivity(trial)}
    levels = [level for level in range(len(store.rows(trial))) if line.levels is None or level in line.levels]
    return [(level, step) for level in levels for step in line.steps if (level, step) not in done]


def run_stability(
    experiment: Experiment, store: RunStore, trial: int, line: Line, on_row: Callable[[ConnectivityRow], None]
) -> None:
    """Measure what is missing of a trial's connectivity in this process; `on_row` is called with every row on disk."""
    if experiment.data is not None:
        store.check_data(experiment.data)
    rows = store.rows(trial)
    for level, step in missing(store, trial, line):
        start = perf_counter()
        mask = mask_of_row(store, rows[level]) if level else None
        with in_a_trial(experiment.spec):
            line_between = connectivity(experiment, trial, step, level=level, mask=mask, points=line.points)
        row = ConnectivityRow(
            run=experiment.spec.id,
            trial=trial,
            level=level,
            fraction_of_real=rows[level].fraction_of_real,
            mask=rows[level].mask,
            connectivity=line_between,
            data=experiment.data,
            metric=experiment.task.metric,
            provenance=Provenance(
                seconds=round(perf_counter() - start, 3),
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                device=describe_device(experiment.device),
                versions=versions(),
            ),
        )
        store.append_connectivity(row)
        on_row(row)


def overlaps(store: RunStore) -> list[OverlapRow]:
    """Return how much the masks of every two trials of a run agree, level by level; the dense level has nothing to agree on.

    For masks that are no longer on disk, the recorded overlap is returned.
    """
    overlap_rows, known = [], {(row.trials, row.level): row for row in store.overlaps()}
    for one, other in itertools.combinations(store.trials(), 2):
        rows = list(zip(store.rows(one), store.rows(other), strict=False))
        for level, pair in list(enumerate(rows))[1:]:
            if ((one, other), level) in known and not (store.has_mask(one, level) and store.has_mask(other, level)):
                overlap_rows.append(known[(one, other), level])
                continue
            mask, other_mask = (mask_of_row(store, row) for row in pair)
            overlap = pruning.mask_overlap(mask, other_mask, sizes_in_mask(pair[0], mask))
            overlap_rows.append(
                OverlapRow(
                    run=store.spec().id,
                    level=level,
                    trials=(one, other),
                    fraction_of_real=sum(row.fraction_of_real for row in pair) / 2,
                    **dataclasses.asdict(overlap),
                )
            )
    return overlap_rows
