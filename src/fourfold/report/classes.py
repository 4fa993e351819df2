"""What came out for each class: dense against ticket, over trials, and which classes are taken for which."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.record import TICKET
from fourfold.record.rows import PerClass
from fourfold.report._chosen_levels import ChosenLevel, chosen_levels
from fourfold.report._curves import Stat
from fourfold.report._experiments import Experiment
from fourfold.report.tables import Record, Table
from fourfold.report.words import MISSING, accuracy, capital

MEASURES = {
    "classification": "accuracy",
    "segmentation": "intersection over union",
    "multilabel": "F1",
    "detection": "average precision at an IoU of 0.5",
}
"""By `task.name`: what `Row.per_class` has for each class, in percent."""

MOST_CLASSES = 100
"""Classes of which a page has the values; `classes.csv` has all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassResults:
    """What came out for each class at one level."""

    level: ChosenLevel
    names: tuple[str, ...]
    values: tuple[Stat | None, ...]
    """In percent, over the trials in which the class occurs; None where it occurs in none."""
    counts: NDArray[np.int64] | None
    """How often each class (row) was taken for each (column), summed over trials; None where that was not counted."""

    @property
    def shares(self) -> NDArray[np.float64] | None:
        """The counts as parts of each class's items, from 0 to 1; NaN for a class without items."""
        if self.counts is None:
            return None
        totals = self.counts.sum(1, keepdims=True)
        shares = np.full(self.counts.shape, np.nan)
        np.divide(self.counts, totals, out=shares, where=totals > 0)
        return shares


def measure_of(experiment: Experiment) -> str:
    """Return what the value of a class is, such as `accuracy`."""
    tasks = [spec.task.name for spec in experiment.specs.values()]
    return next((MEASURES[task] for task in tasks if task in MEASURES), "value")


def class_results(experiment: Experiment) -> list[ClassResults]:
    """Return what came out for each class at the chosen levels; empty where rows do not have it."""
    by_level = _by_level(experiment)
    chosen = chosen_levels(experiment, lambda curve, point: (curve.run, point.level) in by_level)
    results = [_joined(level, by_level[level.curve.run, level.point.level]) for level in chosen]
    return [one for one in results if one.names == results[0].names]


def class_table(experiment: Experiment) -> Table | None:
    """Return a row a class and a column a chosen level; None where rows do not have it."""
    results = class_results(experiment)
    if not results:
        return None
    names, measure = results[0].names, measure_of(experiment)
    rows = []
    for index, name in enumerate(names[:MOST_CLASSES]):
        values = [one.values[index] for one in results]
        rows.append((name, *(MISSING if value is None else accuracy(value) for value in values)))
    rest = f" The first {MOST_CLASSES} of {len(names)} classes; classes.csv has all." if len(names) > MOST_CLASSES else ""
    note = (
        f"{capital(measure)} of each class on the test set, in percent: mean ± sample standard deviation over "
        f"trials. Tickets are those nearest to equal fractions of real; “–” does not occur.{rest}"
    )
    return Table(title="Classes", columns=("Class", *(one.level.words for one in results)), rows=tuple(rows), note=note)


def class_records(experiment: Experiment) -> list[Record]:
    """Return a record a network, level and class, of every level of every ticket."""
    by_level = _by_level(experiment)
    return [
        {
            "preset": experiment.preset,
            "network": curve.label,
            "run": curve.run,
            "level": point.level,
            "density": point.density,
            "fraction_of_real": point.fraction_of_real,
            "class": name,
            "measure": measure_of(experiment),
            "mean": value.mean if value else None,
            "std": value.std if value else None,
            "trials": value.n if value else 0,
        }
        for curve in experiment.tickets
        for point in curve.points
        for name, value in _values(by_level.get((curve.run, point.level), ()))
    ]


def confusion_records(results: Sequence[ClassResults]) -> list[Record]:
    """Return a record a level, class and class that it was taken for, where that happened."""
    return [
        {
            "network": one.level.network,
            "run": one.level.curve.run,
            "level": one.level.point.level,
            "fraction_of_real": one.level.point.fraction_of_real,
            "class": one.names[row],
            "taken_for": one.names[column],
            "count": int(one.counts[row, column]),
        }
        for one in results
        if one.counts is not None
        for row, column in np.argwhere(one.counts > 0).tolist()
    ]


def _by_level(experiment: Experiment) -> dict[tuple[str, int], list[PerClass]]:
    """Return what rows of tickets have for classes, by run and level."""
    by_level: dict[tuple[str, int], list[PerClass]] = {}
    for row in experiment.rows:
        if row.per_class is not None and row.control == TICKET and row.per_class.names:
            by_level.setdefault((row.run, row.level), []).append(row.per_class)
    return by_level


def _joined(level: ChosenLevel, trials: Sequence[PerClass]) -> ClassResults:
    """Return what the trials of a level have for classes of the same names."""
    names = trials[0].names
    counted = [np.array(one.confusion, dtype=np.int64) for one in trials if one.names == names and one.confusion is not None]
    return ClassResults(
        level=level,
        names=names,
        values=tuple(value for _, value in _values(trials)),
        counts=np.sum(counted, axis=0) if counted else None,
    )


def _values(trials: Sequence[PerClass]) -> Iterator[tuple[str, Stat | None]]:
    """Yield each class and its value over trials."""
    for index, name in enumerate(trials[0].names if trials else ()):
        values = [one.values[index] for one in trials if one.names == trials[0].names]
        measured = [value for value in values if value is not None]
        yield name, Stat.of(measured) if measured else None
