"""Rows of several trials become curves: one point a level, mean and sample standard deviation over the trials."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fourfold.record import TICKET, TOP1, Metric, Row, UserError

ALGEBRAS = {"real": "Real", "complex": "Complex", "quaternion": "Quaternion", "octonion": "Octonion", "phm": "PHM"}
"""The algebras' names in figures and tables, in their order there."""


@dataclass(frozen=True, kw_only=True)
class Stat:
    """A number over trials."""

    mean: float
    std: float | None
    """Sample standard deviation (of n − 1); None for a single trial."""
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Stat":
        """Return the mean and sample standard deviation of at least one value."""
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(mean=float(np.mean(values)), std=std, n=len(values))


@dataclass(frozen=True, kw_only=True)
class Point:
    """One level of a curve; sizes are means over its trials."""

    level: int
    density: float
    fraction_of_real: float
    weights: float
    macs: float
    stored_bytes: float
    top1: Stat
    top5: Stat | None
    loss: Stat
    train_loss: Stat
    full: bool
    """Whether as many trials reached this level as the curve has at its best level."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One trial of a curve, densest level first: what intervals over trials are computed from."""

    trial: int
    density: tuple[float, ...]
    fraction_of_real: tuple[float, ...]
    top1: tuple[float, ...]
    """Percent."""
    stored_bytes: tuple[float, ...] = ()
    """Empty for a published curve, as are the MACs."""
    macs: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Training:
    """Test accuracy after each epoch of one level."""

    level: int
    epochs: tuple[int, ...]
    top1: tuple[Stat, ...]
    """Over the trials that trained that long: with early stopping they differ."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One run's tickets, or one of its controls, level by level."""

    run: str
    preset: str
    dataset: str
    model: str
    algebra: str
    control: str
    label: str
    """What a legend says: the algebra, the control, and the run's hash where two runs would read the same."""
    variant: int
    """Counts the curves of one algebra in one experiment from 0: they differ in marker and dash, not in colour."""
    trials: tuple[int, ...]
    points: tuple[Point, ...]
    """By level."""
    training: tuple[Training, ...]
    """By level."""
    layers: dict[str, tuple[float, ...]]
    """Density of every layer, level by level, mean over trials."""
    parameters_real: int
    macs_real: int
    traces: tuple[Trace, ...] = ()
    """By trial."""
    metric: Metric = TOP1
    """What every `top1` is of: of other tasks than classification, another value."""

    @property
    def most_trials(self) -> int:
        """The number of trials at the level that most trials reached."""
        return max(point.top1.n for point in self.points)

    @property
    def dense(self) -> Point | None:
        """Level 0, if it was run."""
        return self.points[0] if self.points[0].level == 0 else None


def curves(rows: Iterable[Row]) -> tuple[Curve, ...]:
    """Return one curve a run and control, tickets before controls, real before quaternion.

    Runs of one preset and algebra that differ in any field of their spec have different ids, so they stay apart.

    Raises:
        UserError: a level of a trial is there twice.
    """
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.preset, row.algebra, row.control, row.run), []).append(row)
    order = list(ALGEBRAS)
    keys = sorted(
        groups,
        key=lambda key: (key[0], key[2] != TICKET, order.index(key[1]) if key[1] in order else len(order), key[2], key[3]),
    )
    variants: dict[tuple[str, str], int] = {}
    result = []
    for key in keys:
        preset, algebra, control, run = key
        twins = sum(other[:3] == key[:3] for other in keys)
        label = ALGEBRAS.get(algebra, algebra)
        if control != TICKET:
            label += f", {control.replace('-', ' ').replace('_', ' ')}"
        if twins > 1:
            label += f" ({run.rpartition('-')[2]})"
        variant = variants.get((preset, algebra), 0)
        variants[preset, algebra] = variant + 1
        result.append(_curve(groups[key], label, variant))
    return tuple(result)


def _curve(rows: Sequence[Row], label: str, variant: int) -> Curve:
    levels: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.level, row.trial)):
        levels.setdefault(row.level, []).append(row)
    for level, group in levels.items():
        if len({row.trial for row in group}) < len(group):
            raise UserError(f"level {level} of run {group[0].run} is there twice for one trial; name each run once")
    most = max(len(group) for group in levels.values())
    first = rows[0]
    names = list(dict.fromkeys(name for group in levels.values() for row in group for name in row.layers))
    return Curve(
        run=first.run,
        preset=first.preset,
        dataset=first.dataset,
        model=first.model,
        algebra=first.algebra,
        control=first.control,
        label=label,
        variant=variant,
        trials=tuple(sorted({row.trial for row in rows})),
        points=tuple(_point(level, group, most) for level, group in levels.items()),
        training=tuple(_training(level, group) for level, group in levels.items()),
        layers={name: tuple(_layer(name, group) for group in levels.values()) for name in names},
        parameters_real=first.parameters_real,
        macs_real=first.macs_real,
        traces=tuple(_trace(rows, trial) for trial in sorted({row.trial for row in rows})),
        metric=first.metric,
    )


def _trace(rows: Sequence[Row], trial: int) -> Trace:
    levels = sorted((row for row in rows if row.trial == trial), key=lambda row: row.level)
    return Trace(
        trial=trial,
        density=tuple(row.density for row in levels),
        fraction_of_real=tuple(row.fraction_of_real for row in levels),
        top1=tuple(row.value for row in levels),
        stored_bytes=tuple(row.stored_bytes for row in levels),
        macs=tuple(row.macs for row in levels),
    )


def _point(level: int, rows: Sequence[Row], most: int) -> Point:
    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    top5 = [row.top5 for row in rows if row.top5 is not None]
    return Point(
        level=level,
        density=mean(row.density for row in rows),
        fraction_of_real=mean(row.fraction_of_real for row in rows),
        weights=mean(row.weights for row in rows),
        macs=mean(row.macs for row in rows),
        stored_bytes=mean(row.stored_bytes for row in rows),
        top1=Stat.of([row.value for row in rows]),
        top5=Stat.of(top5) if top5 else None,
        loss=Stat.of([row.loss for row in rows]),
        train_loss=Stat.of([row.train_loss for row in rows]),
        full=len(rows) == most,
    )


def _training(level: int, rows: Sequence[Row]) -> Training:
    curves = [[(epoch.epoch, epoch.value) for epoch in row.epochs] for row in rows]
    epochs = [epoch for epoch, _ in curves[0]]
    if all([epoch for epoch, _ in curve] == epochs for curve in curves) and len(set(epochs)) == len(epochs):
        # At once what `Stat.of` does epoch by epoch: a network of 40 epochs and 20 levels has 800 of them.
        values = np.array([[value for _, value in curve] for curve in curves], dtype=np.float64)
        by_epoch = np.ascontiguousarray(values.reshape(len(curves), len(epochs)).T)
        means = by_epoch.mean(axis=1).tolist() if epochs else []
        spreads = by_epoch.std(axis=1, ddof=1).tolist() if epochs and len(rows) > 1 else [None] * len(epochs)
        stats = sorted(zip(epochs, means, spreads, strict=True))
        return Training(
            level=level,
            epochs=tuple(epoch for epoch, _, _ in stats),
            top1=tuple(Stat(mean=mean, std=std, n=len(rows)) for _, mean, std in stats),
        )
    ragged: dict[int, list[float]] = {}
    for epoch, value in (point for curve in curves for point in curve):
        ragged.setdefault(epoch, []).append(value)
    measured = sorted(ragged)
    return Training(level=level, epochs=tuple(measured), top1=tuple(Stat.of(ragged[epoch]) for epoch in measured))


def _layer(name: str, rows: Sequence[Row]) -> float:
    """Return a layer's density, or nan where no trial has that layer."""
    values = [row.layers[name][0] / row.layers[name][1] for row in rows if name in row.layers]
    return float(np.mean(values)) if values else math.nan
