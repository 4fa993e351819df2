"""How long experiments will take on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fourfold.parts import sizes_of_real_twin
from fourfold.record import RunStore, Spec
from fourfold.report.published import published_curves
from fourfold.timing.clock import Clock, sizes_of
from fourfold.timing.planning import FRACTION_PLANNED, planned_levels


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is left to do of some experiments."""

    levels: int
    """Levels left, over trials."""
    levels_done: int
    seconds: float
    """With the given number of trials at a time."""


def forecast(specs: Sequence[Spec], *, trials: int, out: Path, clock: Clock, workers: int) -> Forecast:
    """Return how much of some experiments is left, and about how long it takes; nothing is written.

    Levels: to the last one asked for, else to where the published curve ends, at least to 2 % of the real network. With early
    stopping the time is that of training to the last epoch.
    """
    left = done = 0
    seconds = 0.0
    for spec in specs:
        store, levels = RunStore.expecting(out, spec), figure_levels(spec)
        for trial in range(trials):
            num_done = len(store.rows(trial))
            done += num_done
            if store.path.exists() and store.finished(trial):
                continue
            ahead = range(num_done, max(levels, num_done + 1))
            left += len(ahead)
            seconds += sum(clock.level_seconds(spec, spec.prune.density(level)) for level in ahead)
    return Forecast(levels=left, levels_done=done, seconds=seconds / max(1, min(workers, trials * len(specs))))


def figure_levels(spec: Spec) -> int:
    """Return the levels of a trial, planned to where the published curve ends if that is further than usual."""
    curves = published_curves(spec.data.name, spec.model.name, spec.preset)
    ends = [curve.points[-1][0] for curve in curves if curve.algebra == spec.model.algebra]
    sizes = sizes_of(spec)
    return planned_levels(spec, sizes, sizes_of_real_twin(spec) or sizes, min([FRACTION_PLANNED, *ends]))
