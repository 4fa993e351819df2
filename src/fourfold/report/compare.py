"""One curve held against another: at equal fraction of real, at equal level, and where one overtakes the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fourfold import presets
from fourfold.record import Spec
from fourfold.report._curves import Curve, Point
from fourfold.report._experiments import Experiment, flat

TARGETS = (0.25, 0.125, 0.03)
"""Fractions of real at which the summaries compare networks."""

AT_END = 1.02
"""A quaternion network may start at 24.8 % of its twin: that is still its accuracy at about 25 %."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Mean top-1 accuracy (percent) between two measured points."""

    top1: float
    trials: int
    """The fewest trials of the points it was read from."""


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """Where one curve's mean first exceeds another's, going from dense to sparse."""

    fraction: float
    """Fraction of real, interpolated; the largest one that both reached if it is ahead there already."""
    from_start: bool
    """Whether it is ahead at the largest fraction that both reached."""
    behind_again: float | None
    """Fraction of real at which it first falls behind again; None if it never does."""
    end: float
    """The smallest fraction of real that both reached."""


def at_fraction(curve: Curve, fraction: float) -> Estimate | None:
    """Return the mean accuracy at a fraction of real, linear in its logarithm; None outside the measured range.

    Within 2 % (relative) of either end, the end's own accuracy is taken.
    """
    points = sorted(curve.points, key=lambda point: point.fraction_of_real)
    x = [point.fraction_of_real for point in points]
    if not x[0] / AT_END <= fraction <= x[-1] * AT_END:
        return None
    right = min(int(np.searchsorted(x, fraction)), len(points) - 1)
    left = right if x[right] <= fraction else max(right - 1, 0)
    top1 = float(np.interp(np.log(fraction), np.log(x), [point.top1.mean for point in points]))
    return Estimate(top1=top1, trials=min(points[left].top1.n, points[right].top1.n))


def crossover(curve: Curve, real: Curve) -> Crossover | None:
    """Return where the mean of `curve` first exceeds that of `real`; None if it never does where both were measured."""
    grid, ahead = _difference(curve, real)
    first = next((i for i, value in enumerate(ahead) if value > 0), None)
    if first is None:
        return None
    behind = next((i for i in range(first, len(grid)) if ahead[i] < 0), None)
    return Crossover(
        fraction=grid[0] if first == 0 else _zero(grid, ahead, first),
        from_start=first == 0,
        behind_again=None if behind is None else _zero(grid, ahead, behind),
        end=grid[-1],
    )


def common_range(curve: Curve, other: Curve) -> tuple[float, float] | None:
    """Return the largest and the smallest fraction of real that both curves reached; None if they do not meet."""
    grid, _ = _difference(curve, other)
    return (grid[0], grid[-1]) if grid else None


def smallest_within(curve: Curve, reference: float, points: float = 1.0) -> Point | None:
    """Return the measured point of least fraction of real whose mean is within `points` of `reference`.

    None where there is none, or the metric is no percentage that shall be high, of which a point says nothing.
    """
    if not (curve.metric.is_percent and curve.metric.higher_is_better):
        return None
    within = [point for point in curve.points if point.top1.mean >= reference - points]
    return min(within, key=lambda point: point.fraction_of_real, default=None)


def real_twin(curve: Curve, experiment: Experiment) -> Curve | None:
    """Return the real curve to hold this one against: its twin's by spec, else the only real one of the preset.

    A control is held against the same control. None for a real curve, where there is none or several to choose from, and where
    the only one had other data, epochs or precision: of forty epochs beside two, the gap would be that of the epochs.
    """
    if curve.algebra == "real":
        return None
    real = [other for other in experiment.curves if (other.algebra, other.control) == ("real", curve.control)]
    spec = experiment.specs.get(curve.run)
    twins = [other for other in real if spec is not None and other.run == spec.real_twin.id]
    if twins:
        return twins[0]
    if len(real) != 1:
        return None
    other = experiment.specs.get(real[0].run)
    comparable = spec is None or other is None or _training(spec) == _training(other)
    return real[0] if comparable else None


def _training(spec: Spec) -> tuple[Any, ...]:
    return spec.data, spec.train.epochs, spec.train.precision


def changes(experiment: Experiment) -> dict[str, tuple[list[Any], Any]]:
    """Return what the runs change of the preset they are named after: by field, their values and the preset's."""
    if experiment.preset not in presets.PRESETS:
        return {}
    departing: dict[str, tuple[list[Any], Any]] = {}
    for spec in experiment.specs.values():
        standard = flat(presets.get(experiment.preset, algebra=spec.model.algebra))
        for name, value in flat(spec).items():
            if value != standard[name] and value not in departing.setdefault(name, ([], standard[name]))[0]:
                departing[name][0].append(value)
    return {name: change for name, change in departing.items() if change[0]}


def departures(experiment: Experiment) -> list[str]:
    """Return what the runs change of the preset they are named after, such as `train.epochs 2 (not 40)`."""
    differing = changes(experiment).items()
    return [f"{name} {' and '.join(map(str, values))} (not {usual})" for name, (values, usual) in differing]


def _difference(curve: Curve, other: Curve) -> tuple[list[float], list[float]]:
    """Return where either curve has a point and both are measured, from large to small, and how far `curve` is ahead."""

    def measured(one: Curve) -> tuple[Sequence[float], Sequence[float]]:
        points = sorted(one.points, key=lambda point: point.fraction_of_real)
        return [point.fraction_of_real for point in points], [point.top1.mean for point in points]

    (x, y), (other_x, other_y) = measured(curve), measured(other)
    low, high = max(x[0], other_x[0]), min(x[-1], other_x[-1])
    grid = sorted({value for value in (*x, *other_x) if low <= value <= high}, reverse=True)
    if not grid:
        return [], []
    ahead = np.interp(np.log(grid), np.log(x), y) - np.interp(np.log(grid), np.log(other_x), other_y)
    sign = 1 if curve.metric.higher_is_better else -1
    return grid, [sign * float(value) for value in ahead]


def _zero(grid: Sequence[float], ahead: Sequence[float], right: int) -> float:
    """Return where the difference, linear in the logarithm, is zero between the points before and at `right`."""
    left = right - 1
    part = ahead[left] / (ahead[left] - ahead[right])
    return float(np.exp(np.log(grid[left]) + part * (np.log(grid[right]) - np.log(grid[left]))))
