"""Tables of levels and of findings, as Markdown, as CSV, and as cells for the page."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fourfold.record import TOP1, Metric
from fourfold.report._comparisons import Comparison, comparison_of
from fourfold.report._curves import ALGEBRAS, Curve, Point
from fourfold.report._differences import Side
from fourfold.report._experiments import Experiment
from fourfold.report.compare import TARGETS, at_fraction, crossover, real_twin, smallest_within
from fourfold.report.words import (
    MISSING,
    NOT_RUN,
    accuracy,
    capital,
    count,
    difference_words,
    gap,
    gap_interval,
    metric_words,
    percent,
    size,
    size_ranges,
    trials,
    unit_words,
)

Value = str | int | float | None
Record = dict[str, Value]

_WITHIN = " Within 1 point: the smallest measured fraction whose mean is at most 1 point below the dense real network's."


def levels_note(metric: Metric) -> str:
    """Return what is to be read below the levels of networks that are judged by a metric."""
    return (
        f"{capital(metric_words(metric))}: mean ± sample standard deviation over trials, {unit_words(metric)}. Gap to real, "
        f"{difference_words(metric)}: at the same level (equal density) and at the same fraction of real (the real curve "
        "interpolated linearly in the logarithm of the fraction)."
    )


def summary_note(metric: Metric) -> str:
    """Return what is to be read below the summary of networks that are judged by a metric."""
    return (
        f"{capital(metric_words(metric))} at a fraction of real is interpolated linearly in its logarithm; “–” lies outside "
        "what was measured. Shown ahead of real, or behind: the measured fractions at which the whole 95 % interval of the gap "
        "over paired trials excludes zero, at least three in a row (or all), and the largest mean gap there with its interval. "
        f"Chosen as the largest of several, it is more likely too large than too small.{_WITHIN if _has_points(metric) else ''}"
    )


def _has_points(metric: Metric) -> bool:
    """Whether a network can be within a point of another: percentages of which more is better."""
    return metric.is_percent and metric.higher_is_better


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as it is printed: every cell is text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str
    of_words: bool = False
    """Whether its cells are words, to be set to the left, and not numbers."""

    def to_markdown(self) -> str:
        """Return the table in GitHub's Markdown, with its note below."""

        def line(cells: Iterable[str]) -> str:
            return f"| {' | '.join(markdown(cell) for cell in cells)} |"

        ruler = ["---", *("---" if self.of_words else "---:" for _ in self.columns[1:])]
        body = [line(self.columns), f"| {' | '.join(ruler)} |", *(line(row) for row in self.rows)]
        return "\n".join([f"### {markdown(self.title)}", "", *body, "", self.note, ""])


def to_csv(records: Sequence[Record]) -> str:
    """Return records as CSV with a header; a missing value is an empty cell, numbers keep all their digits.

    Experiments of different metrics have columns of their own, which are empty for the others. Words that a spreadsheet would
    take for a formula begin with an apostrophe, which it does not show.
    """
    stream = io.StringIO()
    if records:
        columns = list(dict.fromkeys(name for record in records for name in record))
        writer = csv.DictWriter(stream, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _no_formula(value) for name, value in record.items()} for record in records)
    return stream.getvalue()


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def level_records(experiment: Experiment) -> list[Record]:
    """Return every level of every curve with all its numbers."""
    records: list[Record] = []
    for curve in experiment.curves:
        real = real_twin(curve, experiment)
        for point in curve.points:
            same_level, same_fraction = _gaps(point, real)
            records.append(
                {
                    "preset": experiment.preset,
                    "dataset": experiment.dataset,
                    "model": experiment.model,
                    "network": curve.label,
                    "run": curve.run,
                    "algebra": curve.algebra,
                    "control": curve.control,
                    "level": point.level,
                    "density": point.density,
                    "fraction_of_real": point.fraction_of_real,
                    "weights": point.weights,
                    "stored_bytes": point.stored_bytes,
                    "macs": point.macs,
                    f"{experiment.metric.name}_mean": point.top1.mean,
                    f"{experiment.metric.name}_std": point.top1.std,
                    "top5_mean": point.top5.mean if point.top5 else None,
                    "top5_std": point.top5.std if point.top5 else None,
                    "loss_mean": point.loss.mean,
                    "loss_std": point.loss.std,
                    "trials": point.top1.n,
                    "most_trials": curve.most_trials,
                    "gap_to_real_same_level": same_level,
                    "gap_to_real_same_fraction": same_fraction,
                }
            )
    return records


def level_table(experiment: Experiment) -> Table:
    """Return the levels of an experiment, as many columns as a page can show."""
    rows = []
    for curve in experiment.curves:
        real = real_twin(curve, experiment)
        for point in curve.points:
            gaps = (MISSING, MISSING) if curve.algebra == "real" else (NOT_RUN, NOT_RUN)
            if real is not None:
                gaps = tuple(MISSING if value is None else gap(value, curve.metric) for value in _gaps(point, real))  # type: ignore[assignment]
            rows.append(
                (
                    curve.label,
                    str(point.level),
                    percent(point.density),
                    percent(point.fraction_of_real),
                    f"{point.weights:,.0f}",
                    size(point.stored_bytes),
                    count(point.macs),
                    accuracy(point.top1, curve.metric),
                    trials(point.top1.n, curve.most_trials),
                    *gaps,
                )
            )
    columns = (
        "Network",
        "Level",
        "Density",
        "Fraction of real",
        "Weights kept",
        "Stored",
        "MACs",
        _column(experiment.metric),
        "Trials",
        "Gap, same level",
        "Gap, same fraction",
    )
    return Table(title="Levels", columns=columns, rows=tuple(rows), note=levels_note(experiment.metric))


def _column(metric: Metric) -> str:
    """Return the head of the column of a metric."""
    return f"{'Top-1' if metric == TOP1 else metric.title or metric.name}{f' ({metric.unit})' if metric.unit else ''}"


def summary_records(experiment: Experiment) -> list[Record]:
    """Return one record per ticket curve with what a reader asks first."""
    records: list[Record] = []
    for curve in experiment.tickets:
        real = curve if curve.algebra == "real" else real_twin(curve, experiment)
        dense = curve.dense
        record: Record = {
            "preset": experiment.preset,
            "dataset": experiment.dataset,
            "model": experiment.model,
            "network": curve.label,
            "run": curve.run,
            "algebra": curve.algebra,
            "trials": curve.most_trials,
            "dense_fraction_of_real": dense.fraction_of_real if dense else None,
            f"dense_{curve.metric.name}_mean": dense.top1.mean if dense else None,
            f"dense_{curve.metric.name}_std": dense.top1.std if dense else None,
        }
        for target in TARGETS:
            estimate = at_fraction(curve, target)
            record[f"{curve.metric.name}_at_{100 * target:g}_percent_interpolated"] = estimate.top1 if estimate else None
            record[f"trials_at_{100 * target:g}_percent"] = estimate.trials if estimate else None
        crossing = crossover(curve, real) if real is not None and real is not curve else None
        record["overtakes_real_at_fraction_interpolated"] = crossing.fraction if crossing else None
        record["falls_behind_again_at_fraction_interpolated"] = crossing.behind_again if crossing else None
        within = smallest_within(curve, real.dense.top1.mean) if real is not None and real.dense else None
        record["smallest_fraction_within_1_point_of_dense_real"] = within.fraction_of_real if within else None
        held = comparison_of(curve, experiment)
        differences = held.by_parameters if held else None
        record["paired_trials"] = differences.trials if differences else None
        record |= _side_record("ahead_of", differences.ahead if differences else None)
        record |= _side_record("behind", differences.behind if differences else None)
        records.append(record)
    return records


def _side_record(word: str, side: Side | None) -> Record:
    """Return where a network is shown to be ahead or behind; empty cells where it is not."""
    return {
        f"shown_{word}_real_at": size_ranges(side) if side else None,
        f"shown_{word}_real_largest_gap_at_fraction": side.at if side else None,
        f"shown_{word}_real_largest_gap_mean": side.gap.mean if side else None,
        f"shown_{word}_real_largest_gap_low_95": side.gap.low if side else None,
        f"shown_{word}_real_largest_gap_high_95": side.gap.high if side else None,
    }


def summary_table(experiment: Experiment) -> Table:
    """Return what a reader asks first, one row per ticket curve; an algebra of the pair that is missing is `not run`."""
    columns = (
        "Network",
        "Trials",
        "Dense: fraction of real",
        f"Dense: {_column(experiment.metric).replace('Top', 'top')}",
        *(f"At {100 * target:g} % of real" for target in TARGETS),
        "Shown ahead of real at",
        "Shown behind real at",
        *(["Within 1 point of dense real"] if _has_points(experiment.metric) else []),
    )
    rows = [_summary_row(curve, experiment) for curve in experiment.tickets]
    for algebra in ("real", "quaternion"):
        if all(curve.algebra != algebra for curve in experiment.tickets):
            rows.append((ALGEBRAS[algebra], *([NOT_RUN] * (len(columns) - 1))))
    return Table(title="Summary", columns=columns, rows=tuple(rows), note=summary_note(experiment.metric))


def _summary_row(curve: Curve, experiment: Experiment) -> tuple[str, ...]:
    real = curve if curve.algebra == "real" else real_twin(curve, experiment)
    dense = curve.dense
    cells = [curve.label, str(curve.most_trials)]
    cells += [percent(dense.fraction_of_real), accuracy(dense.top1, curve.metric)] if dense else [NOT_RUN, NOT_RUN]
    for target in TARGETS:
        estimate = at_fraction(curve, target)
        few = "" if estimate is None or estimate.trials == curve.most_trials else f" ({estimate.trials} of {curve.most_trials})"
        cells.append(MISSING if estimate is None else f"{curve.metric.number(estimate.top1)}{few}")
    if real is curve:
        cells += [MISSING, MISSING]
    elif real is None:
        cells += [NOT_RUN, NOT_RUN]
    else:
        cells += _shown_cells(comparison_of(curve, experiment))
    if _has_points(curve.metric):
        cells.append(_within_cell(curve, real))
    return tuple(cells)


def _within_cell(curve: Curve, real: Curve | None) -> str:
    """Return the smallest size at which a network is within a point of its dense real twin."""
    if real is None or real.dense is None:
        return NOT_RUN
    within = smallest_within(curve, real.dense.top1.mean)
    return "never" if within is None else f"{percent(within.fraction_of_real)} (level {within.level})"


def _shown_cells(held: Comparison | None) -> list[str]:
    """Return where a network is shown to be ahead of its real twin, and where behind."""
    if held is None or held.by_parameters is None:
        return [MISSING, MISSING]
    differences = held.by_parameters
    if differences.trials == 1:
        return ["one trial", "one trial"]
    return [
        "none"
        if side is None
        else f"{size_ranges(side)}: {gap_interval(side.gap, held.curve.metric, with_unit=False)} at {percent(side.at)}"
        for side in (differences.ahead, differences.behind)
    ]


def _gaps(point: Point, real: Curve | None) -> tuple[float | None, float | None]:
    """Return how far a point is above the real curve at the same level and at the same fraction of real, in points."""
    if real is None:
        return None, None
    same = next((other for other in real.points if other.level == point.level), None)
    estimate = at_fraction(real, point.fraction_of_real)
    return (
        None if same is None else point.top1.mean - same.top1.mean,
        None if estimate is None else point.top1.mean - estimate.top1,
    )


def markdown(text: str) -> str:
    """Escape what would end a cell or start markup."""
    for character in "\\|<>`*_[]":
        text = text.replace(character, f"\\{character}")
    return text
