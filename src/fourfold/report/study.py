"""Variants of a study side by side: accuracies at operating points, and gaps to the study's first variant."""

from collections.abc import Sequence

from fourfold.report.curves import Curve
from fourfold.report.experiments import Experiment
from fourfold.report.gaps import Quantity, accuracy_at, gap_at
from fourfold.report.statistics import Interval
from fourfold.report.tables import Record, Table
from fourfold.report.words import MISSING, gap, percent

POINTS = (0.25, 0.125, 0.06, 0.03, 0.015, 0.008)
"""Fractions of the dense real network's parameters or MACs."""

_SIZES: dict[Quantity, str] = {"fraction_of_real": "parameters", "macs": "MACs"}

NOTE = (
    "Top-1 accuracy in percent, mean over trials, interpolated linearly in the logarithm of the size; below it the gap to the "
    "first variant in points with its 95 % interval over trials, which are compared number by number; “–” was not measured."
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
                        "top1_mean": mean.mean if mean else None,
                        "trials": mean.trials if mean else 0,
                        "gap_mean": ahead.mean if ahead else None,
                        "gap_low_95": ahead.low if ahead else None,
                        "gap_high_95": ahead.high if ahead else None,
                    }
                )
    return records


def study_tables(experiment: Experiment, first: str, equal: Quantity) -> list[Table]:
    """Return a table at equal parameters and one at equal MACs, that of `equal` before the other."""
    records = study_records(experiment, first)
    tables = []
    for quantity in sorted(_SIZES, key=lambda name: name != equal):
        rows = []
        for curve in _ordered(experiment.tickets, first):
            cells = [record for record in records if record["run"] == curve.run and record["equal"] == quantity]
            dense = f"{curve.dense.top1.mean:.2f}" if curve.dense else MISSING
            rows.append((curve.label, dense, *(_accuracy(cell) for cell in cells)))
            if curve.run != first:
                rows.append(("", "", *(_gap(cell) for cell in cells)))
        columns = ("Variant", "Dense", *(f"At {percent(at)}" for at in POINTS))
        title = f"{experiment.preset}: at equal {_SIZES[quantity]}"
        tables.append(Table(title=title, columns=columns, rows=tuple(rows), note=NOTE))
    return tables


def _ordered(curves: Sequence[Curve], first: str) -> list[Curve]:
    return sorted(curves, key=lambda curve: curve.run != first)


def _accuracy(cell: Record) -> str:
    return MISSING if cell["top1_mean"] is None else f"{float(cell['top1_mean']):.2f}"


def _gap(cell: Record) -> str:
    if cell["gap_mean"] is None:
        return MISSING
    found = Interval(
        mean=float(cell["gap_mean"]),
        low=None if cell["gap_low_95"] is None else float(cell["gap_low_95"]),
        high=None if cell["gap_high_95"] is None else float(cell["gap_high_95"]),
        trials=int(cell["trials"] or 0),
    )
    ends = "" if found.low is None or found.high is None else f" [{gap(found.low)}, {gap(found.high)}]"
    return f"{gap(found.mean)}{ends}"
