"""Variants of a study side by side: what they are judged by at operating points, and gaps to the study's first variant."""

from collections.abc import Sequence

from fourfold.record import Metric
from fourfold.report._curves import Curve
from fourfold.report._experiments import Experiment
from fourfold.report.gaps import Quantity, accuracy_at, gap_at
from fourfold.report.statistics import Interval
from fourfold.report.tables import Record, Table
from fourfold.report.words import MISSING, capital, difference_words, gap_interval, metric_words, percent, unit_words

POINTS = (0.25, 0.125, 0.06, 0.03, 0.015, 0.008)
"""Fractions of the dense real network's parameters or MACs."""

_SIZES: dict[Quantity, str] = {"fraction_of_real": "parameters", "macs": "MACs"}


def study_note(metric: Metric) -> str:
    """Return what is to be read below the variants of a study that are judged by a metric."""
    return (
        f"{capital(metric_words(metric))}, {unit_words(metric)}, mean over trials, interpolated linearly in the logarithm of "
        f"the size; below it the gap to the first variant, {difference_words(metric)}, with its 95 % interval over trials, "
        "which are compared number by number; “–” was not measured."
    )


def study_records(experiment: Experiment, first: str) -> list[Record]:
    """Return a record a variant, kind of size and operating point.

    Args:
        experiment: The study's runs.
        first: Id of the run that the others are held against.
    """
    reference = next(curve for curve in experiment.tickets if curve.run == first)
    records: list[Record] = []
    for quantity in _SIZES:
        for curve in _ordered(experiment.tickets, first):
            for at in POINTS:
                size = at * curve.macs_real if quantity == "macs" else at
                mean = accuracy_at(curve.traces, size, quantity)
                ahead = None if curve is reference else gap_at(curve.traces, reference.traces, size, quantity)
                records.append(
                    {
                        "study": experiment.preset,
                        "variant": curve.label,
                        "run": curve.run,
                        "equal": quantity,
                        "part_of_dense_real": at,
                        f"{experiment.metric.name}_mean": mean.mean if mean else None,
                        "trials": mean.trials if mean else 0,
                        "gap_mean": ahead.mean if ahead else None,
                        "gap_low_95": ahead.low if ahead else None,
                        "gap_high_95": ahead.high if ahead else None,
                    }
                )
    return records


def study_tables(experiment: Experiment, first: str, equal: Quantity) -> list[Table]:
    """Return a table at equal parameters and one at equal MACs, that of `equal` before the other."""
    records, metric = study_records(experiment, first), experiment.metric
    tables = []
    for quantity in sorted(_SIZES, key=lambda name: name != equal):
        rows = []
        for curve in _ordered(experiment.tickets, first):
            cells = [record for record in records if record["run"] == curve.run and record["equal"] == quantity]
            dense = metric.number(curve.dense.top1.mean) if curve.dense else MISSING
            rows.append((curve.label, dense, *(_value(cell, metric) for cell in cells)))
            if curve.run != first:
                rows.append(("", "", *(_gap(cell, metric) for cell in cells)))
        columns = ("Variant", "Dense", *(f"At {percent(at)}" for at in POINTS))
        title = f"{experiment.preset}: at equal {_SIZES[quantity]}"
        tables.append(Table(title=title, columns=columns, rows=tuple(rows), note=study_note(metric)))
    return tables


def _ordered(curves: Sequence[Curve], first: str) -> list[Curve]:
    return sorted(curves, key=lambda curve: curve.run != first)


def _value(cell: Record, metric: Metric) -> str:
    mean = cell[f"{metric.name}_mean"]
    return MISSING if mean is None else metric.number(float(mean))


def _gap(cell: Record, metric: Metric) -> str:
    if cell["gap_mean"] is None:
        return MISSING
    difference = Interval(
        mean=float(cell["gap_mean"]),
        low=None if cell["gap_low_95"] is None else float(cell["gap_low_95"]),
        high=None if cell["gap_high_95"] is None else float(cell["gap_high_95"]),
        trials=int(cell["trials"] or 0),
    )
    return gap_interval(difference, metric, with_unit=False)
