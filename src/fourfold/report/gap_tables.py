"""Tables of gaps at several operating points, and of how far a network can be pruned, with intervals over trials."""

from collections.abc import Iterator

from fourfold.record import Metric
from fourfold.report._comparisons import comparison_of
from fourfold.report._curves import Curve
from fourfold.report._experiments import Experiment
from fourfold.report.compare import real_twin
from fourfold.report.gaps import Quantity, gap_at, survival
from fourfold.report.stability import stability_table
from fourfold.report.statistics import Crossing, Interval
from fourfold.report.tables import Record, Table, level_table, summary_table
from fourfold.report.words import MISSING, capital, count, crossing_interval, difference_words, gap, metric_words, percent, size

OPERATING_POINTS = (1.0, 0.5, 0.25, 0.125, 0.06, 0.03, 0.01, 0.003)
"""Fractions of the dense real network at which tables have gaps."""

LOSSES = (1.0, 2.0, 5.0)
"""Points of accuracy that a network may lose on itself dense."""

_QUANTITIES: dict[Quantity, str] = {"fraction_of_real": "parameters", "stored_bytes": "stored bytes", "macs": "MACs"}

_INTERVALS = (
    "In brackets: 95 % intervals over trials (studentised bootstrap from 10 trials on, Student's t below; none for one trial), "
    "each for its own place. Trials of one number are compared with each other: they see the same images in the same order."
)


def gaps_note(metric: Metric) -> str:
    """Return what is to be read below gaps of a metric."""
    return (
        f"{capital(metric_words(metric))} of the network minus that of the other, {difference_words(metric)}, where both have "
        "the same share of the dense real network's parameters, stored bytes or MACs; interpolated linearly in the logarithm, "
        f"“–” where not both were measured. {_INTERVALS}"
    )


def survival_note(metric: Metric) -> str:
    """Return what is to be read below how far networks can be pruned before they lose points of a metric."""
    return (
        f"The fraction of real at which the {metric_words(metric)} has first fallen so many points below the dense network's "
        "of the same trial, interpolated; stored bytes and MACs at the last measured level before it, and how many times "
        f"smaller they are than the dense real network's. {_INTERVALS}"
    )


def all_tables(experiment: Experiment) -> list[Table]:
    """Return every table of an experiment, the shortest answer first."""
    in_points = experiment.metric.is_percent and experiment.metric.higher_is_better  # which alone can be lost
    tables = (
        summary_table(experiment),
        gap_table(experiment),
        survival_table(experiment) if in_points else None,
        stability_table(experiment),
        level_table(experiment),
    )
    return [table for table in tables if table is not None]


def gap_table(experiment: Experiment) -> Table | None:
    """Return the gaps of tickets to their real twins and to their own controls; None where nothing can be compared."""
    rows = []
    for curve, other, at, by_quantity in _gaps(experiment):
        if any(one is not None for one in by_quantity.values()):
            rows.append(
                (
                    curve.label,
                    other.label,
                    percent(at),
                    *(_cell(by_quantity[quantity], curve.metric) for quantity in _QUANTITIES),
                )
            )
    if not rows:
        return None
    columns = ("Network", "Against", "At, of dense real", *(f"Equal {name}" for name in _QUANTITIES.values()))
    return Table(title="Gaps", columns=columns, rows=tuple(rows), note=gaps_note(experiment.metric))


def gap_records(experiment: Experiment) -> list[Record]:
    """Return the gaps with all their numbers, one record a network, operating point and quantity."""
    return [
        {
            "preset": experiment.preset,
            "network": curve.label,
            "run": curve.run,
            "against": other.label,
            "against_run": other.run,
            "equal": quantity,
            "fraction_of_dense_real": at,
            "gap_mean": one.mean,
            "gap_low_95": one.low,
            "gap_high_95": one.high,
            "trials": one.trials,
        }
        for curve, other, at, by_quantity in _gaps(experiment)
        for quantity, one in by_quantity.items()
        if one is not None
    ]


def survival_table(experiment: Experiment) -> Table | None:
    """Return how far each ticket can be pruned before it loses 1, 2 and 5 points; None without a dense network."""
    rows = []
    for curve in experiment.tickets:
        real = curve if curve.algebra == "real" else real_twin(curve, experiment)
        for points in LOSSES if curve.dense is not None else ():
            crossing = survival([trace for trace in curve.traces if trace.density[0] == 1], points)
            rows.append((curve.label, f"{points:g}", *_survival_cells(curve, real, crossing)))
    columns = ("Network", "Points lost", "At fraction of real", "Stored before", "Smaller", "MACs before", "Fewer")
    note = survival_note(experiment.metric)
    return Table(title="Compression", columns=columns, rows=tuple(rows), note=note) if rows else None


def _gaps(experiment: Experiment) -> Iterator[tuple[Curve, Curve, float, dict[Quantity, Interval | None]]]:
    for curve in experiment.tickets:
        twin = comparison_of(curve, experiment)
        controls = [other for other in experiment.curves if other.run == curve.run and other.control != curve.control]
        if twin is not None:
            for at in OPERATING_POINTS:
                yield curve, twin.real, at, {quantity: twin.gap(at, quantity) for quantity in _QUANTITIES}
        dense = twin.real.dense if twin else curve.dense if curve.algebra == "real" else None
        for other in controls:
            for at in OPERATING_POINTS:
                sizes: dict[Quantity, float | None] = {
                    "fraction_of_real": at,
                    "stored_bytes": at * dense.stored_bytes if dense else None,
                    "macs": at * curve.macs_real,
                }
                by_quantity = {
                    quantity: None if place is None else gap_at(curve.traces, other.traces, place, quantity)
                    for quantity, place in sizes.items()
                }
                yield curve, other, at, by_quantity


def _cell(difference: Interval | None, metric: Metric) -> str:
    if difference is None:
        return MISSING
    if difference.low is None or difference.high is None:
        return f"{gap(difference.mean, metric)} ({difference.trials} trial{'s' if difference.trials > 1 else ''})"
    return f"{gap(difference.mean, metric)} [{gap(difference.low, metric)}, {gap(difference.high, metric)}]"


def _survival_cells(curve: Curve, real: Curve | None, crossing: Crossing | None) -> tuple[str, ...]:
    end = min(curve.points, key=lambda point: point.fraction_of_real)
    if crossing is None:
        last, where = end, f"below {percent(end.fraction_of_real)}"
    else:
        last = min(
            (point for point in curve.points if point.fraction_of_real >= crossing.at), key=lambda point: point.fraction_of_real
        )
        where = f"{percent(crossing.at)} {crossing_interval(crossing)}".strip()
    dense = real.dense if real else None
    smaller = MISSING if dense is None else f"{dense.stored_bytes / last.stored_bytes:.1f} ×"
    fewer = f"{curve.macs_real / last.macs:.1f} ×" if last.macs else MISSING
    return where, size(last.stored_bytes), smaller, count(last.macs), fewer
