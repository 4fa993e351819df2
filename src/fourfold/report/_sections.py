"""The sections of an experiment's page: each is a template and what it is filled with, in the order of the page."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fourfold.record import TOP1
from fourfold.report._curves import Curve, Stat
from fourfold.report._experiments import Experiment, flat
from fourfold.report._findings import findings
from fourfold.report.dots import dot_plot, draw_dots
from fourfold.report.explore import explored
from fourfold.report.gap_tables import all_tables
from fourfold.report.panels import draw_panel
from fourfold.report.scales import tick
from fourfold.report.section import Builder, Section
from fourfold.report.tables import Table
from fourfold.report.task_sections import SECTIONS
from fourfold.report.wording import network_words
from fourfold.report.words import NOT_RUN, percent, seconds, sentences

MOST_ROWS = 320
"""Rows of a table that a page has: of 195 bytes each."""

WIDE, NARROW = 440, 380
"""Widths of a panel's drawing: of one or two panels, and of small multiples. Wider drawings have smaller type on a phone."""


def _sentences(experiment: Experiment) -> Section:
    return Section(template="sentences", values={"sentences": sentences(experiment)})


def _failures(experiment: Experiment) -> Section | None:
    failed = [
        {"run": run, "trial": trial, "reason": reason}
        for run, trials in sorted(experiment.failures.items())
        for trial, reason in trials.items()
    ]
    return Section(template="failures", values={"failures": failed}) if failed else None


def _findings(experiment: Experiment) -> Section | None:
    figures = []
    for number, finding in enumerate(findings(experiment)):
        many = len(finding.panels) not in (1, 2, 4)
        figures.append(
            {
                "title": finding.title if number else None,  # the first one's is the page's
                "subtitle": finding.subtitle,
                "note": finding.note,
                "many": many,
                "panels": [
                    {"heading": panel.heading, "text": panel.text, "svg": draw_panel(panel, width=NARROW if many else WIDE)}
                    for panel in finding.panels
                ],
            }
        )
    return Section(template="findings", values={"figures": figures}) if figures else None


def _controls(experiment: Experiment) -> Section | None:
    plot = dot_plot(experiment)
    if plot is None:
        return None
    panels = [
        {"heading": f"At {tick(percent, panel.at)} of the real parameters", "svg": draw_dots(plot, panel)}
        for panel in plot.panels
    ]
    values = {"title": plot.title, "note": plot.note, "networks": plot.networks, "panels": panels}
    return Section(template="controls", values=values)


def _metrics(experiment: Experiment) -> Section | None:
    """Every other metric that rows have, such as the pixel accuracy beside mIoU, at a few levels."""
    judged = {experiment.metric.name, "loss", *(("top1", "top5") if experiment.metric == TOP1 else ())}
    names = list(dict.fromkeys(name for row in experiment.rows for name in row.metrics if name not in judged))
    if not names:
        return None
    rows = [
        (network_words(curve, experiment), str(point.level), percent(point.fraction_of_real), *cells)
        for curve in experiment.tickets
        for point in _ends(curve)
        if (cells := _metric_cells(experiment, curve, point.level, names))
    ]
    table = Table(
        title="Other metrics",
        columns=("Network", "Level", "Fraction of real", *names),
        rows=tuple(rows),
        note="On the test set: mean ± sample standard deviation over trials, at five levels from dense to the last.",
    )
    return Section(template="tables", values={"tables": [table], "open": 1})


def _tables(experiment: Experiment) -> Section | None:
    tables = [_first_rows(table) for table in all_tables(experiment)]
    return Section(template="tables", values={"tables": tables, "open": 1}) if experiment.curves else None


def _first_rows(table: Table) -> Table:
    """Return as much of a table as a page has: tickets come before controls, and files have all."""
    count = len(table.rows)
    if count <= MOST_ROWS:
        return table
    note = f"The first {MOST_ROWS} of {count} rows; tables.md and the CSV files have all. {table.note}"
    return replace(table, rows=table.rows[:MOST_ROWS], note=note)


def _explore(experiment: Experiment) -> Section | None:
    return Section(template="explore", values={"data": [explored(experiment)]}) if experiment.curves else None


def _how(experiment: Experiment) -> Section:
    # In the order of the curves, real first; a run without rows comes last.
    runs = list(dict.fromkeys([*(curve.run for curve in experiment.curves), *sorted(experiment.specs)]))
    return Section(
        template="how", values={"runs": [_run(run, experiment) for run in runs], "fields": _fields(runs, experiment)}
    )


TASK_SECTIONS: dict[str, tuple[Builder, ...]] = dict(SECTIONS)
"""By `task.name`: sections that only one task has, such as accuracies of classes or strips of example images. They stand
between the figures and the tables; a builder returns None where rows have nothing for it."""

BEFORE: tuple[Builder, ...] = (_failures, _findings, _controls)

AFTER: tuple[Builder, ...] = (_sentences, _metrics, _tables, _explore, _how)


def sections(experiment: Experiment) -> list[Section]:
    """Return the sections of an experiment's page."""
    tasks = dict.fromkeys(spec.task.name for spec in experiment.specs.values())
    own = [builder for task in tasks for builder in TASK_SECTIONS.get(task, ())]
    built = (builder(experiment) for builder in (*BEFORE, *own, *AFTER))
    return [section for section in built if section is not None]


def _ends(curve: Curve) -> list[Any]:
    """Return five levels of a curve, the first and the last among them."""
    if len(curve.points) <= 5:
        return list(curve.points)
    step = (len(curve.points) - 1) / 4
    return [curve.points[round(step * index)] for index in range(5)]


def _metric_cells(experiment: Experiment, curve: Curve, level: int, names: Sequence[str]) -> list[str]:
    rows = [row for row in experiment.rows if (row.run, row.control, row.level) == (curve.run, curve.control, level)]
    cells = []
    for name in names:
        values = [row.metrics[name] for row in rows if name in row.metrics]
        stat = Stat.of(values) if values else None
        spread = "" if stat is None or stat.std is None else f" ± {stat.std:.3g}"
        cells.append("–" if stat is None else f"{stat.mean:.4g}{spread}")
    return cells


def _run(run: str, experiment: Experiment) -> dict[str, Any]:
    """Return how one run was run, from its rows' provenance."""
    rows = [row for row in experiment.rows if row.run == run]
    origins = [row.provenance for row in rows]
    versions = {f"{name} {version}" for one in origins for name, version in one.versions.items()}
    spec = experiment.specs.get(run)
    label = next((curve.label for curve in experiment.tickets if curve.run == run), spec.model.algebra if spec else run)
    return {
        "id": run,
        "label": label,
        "trials": ", ".join(str(trial) for trial in sorted({row.trial for row in rows})) or NOT_RUN,
        "levels": len(rows),
        "seconds": seconds(sum(one.seconds for one in origins)),
        "devices": sorted({one.device for one in origins}) or [NOT_RUN],
        "versions": sorted(versions) or [NOT_RUN],
        "finished": max((one.finished for one in origins), default=NOT_RUN),
    }


def _fields(runs: Sequence[str], experiment: Experiment) -> list[dict[str, Any]]:
    """Return the runs' settings side by side, those that differ first."""
    specs = [flat(experiment.specs[run]) if run in experiment.specs else {} for run in runs]
    names = list(dict.fromkeys(name for spec in specs for name in spec))
    fields = []
    for name in names:
        values = [_value(spec.get(name)) for spec in specs]
        fields.append({"name": name, "values": values, "differs": len(set(values)) > 1})
    return sorted(fields, key=lambda field: not field["differs"])


def _value(value: Any) -> str:
    """Return a setting as it is read: None means off, as in the spec's own documentation."""
    if value is None:
        return "off"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(_value(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
