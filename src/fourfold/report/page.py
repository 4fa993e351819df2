"""One self-contained page: words and tables are in its HTML, charts are drawn by its own script from embedded numbers."""

import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fourfold.record import TICKET, TOP1, Metric
from fourfold.report.claims import NOTE, Judged, count_sentence, decided_first, ours_in_words, theirs_in_words
from fourfold.report.compare import departures
from fourfold.report.curves import Curve
from fourfold.report.experiments import Experiment, flat
from fourfold.report.gap_tables import all_tables
from fourfold.report.order import shows_a_difference, strongest_first
from fourfold.report.published import about
from fourfold.report.style import COLOURS, OTHER, style
from fourfold.report.words import MACS_NOTE, NOT_RUN, seconds, sentences


def page(found: Sequence[Experiment], judged: Sequence[Judged] = ()) -> str:
    """Return the page's HTML, the strongest evidence first, with claims if any were judged.

    The same experiments give the same text, in whatever order they come.
    """
    found = strongest_first(found)
    environment = Environment(
        loader=PackageLoader("fourfold.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # `tojson` escapes <, >, & and ', so that nothing in a name can end the script element it lies in.
    environment.filters |= {"unbroken": _unbroken, "ours": ours_in_words, "theirs": theirs_in_words}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    sections = [_section(index, experiment) for index, experiment in enumerate(found)]
    rows = [row for experiment in found for row in experiment.rows]
    return environment.get_template("page.html.jinja").render(
        sections=sections,
        data=[_data(experiment) for experiment in found],
        claims=[[one for one in decided_first(judged) if bool(one.basis) is has_rows] for has_rows in (True, False)]
        if judged
        else None,
        claims_note=NOTE,
        claims_count=count_sentence(judged),
        macs_note=MACS_NOTE,
        published_about=about() if any(experiment.published for experiment in found) else None,
        levels=len(rows),
        runs=len({row.run for row in rows}),
        finished=max(row.provenance.finished for row in rows),
        style=_asset("page.css"),
        scripts=[_asset("chart.js"), _asset("page.js")],
    )


def _asset(name: str) -> Markup:
    """Return a file of ours as it is; nothing in it comes from a run."""
    return Markup(files("fourfold.report").joinpath("templates", name).read_text(encoding="utf-8"))


def _unbroken(text: str) -> str:
    """Keep a number together with its unit and its spread at the end of a line."""
    for sign in (" ±", "± ", " %"):
        text = text.replace(sign, sign.replace(" ", "\N{NO-BREAK SPACE}"))
    return text


def _section(index: int, experiment: Experiment) -> dict[str, Any]:
    """Return what the HTML of one experiment says."""
    # In the order of the curves, real first; a run without rows comes last.
    runs = list(dict.fromkeys([*(curve.run for curve in experiment.curves), *sorted(experiment.specs)]))
    return {
        "id": f"experiment-{index}",
        "preset": experiment.preset,
        "title": experiment.title,
        "changed": departures(experiment),
        "sentences": sentences(experiment),
        "shown": shows_a_difference(experiment),
        "tables": all_tables(experiment) if experiment.curves else [],
        "runs": [_run(run, experiment) for run in runs],
        "fields": _fields(runs, experiment),
        "failures": [
            {"run": run, "trial": trial, "reason": reason}
            for run, trials in sorted(experiment.failures.items())
            for trial, reason in trials.items()
        ],
    }


def _run(run: str, experiment: Experiment) -> dict[str, Any]:
    """Return how one run was run, from its rows' provenance."""
    rows = [row for row in experiment.rows if row.run == run]
    made = [row.provenance for row in rows]
    versions = {f"{name} {version}" for one in made for name, version in one.versions.items()}
    spec = experiment.specs.get(run)
    label = next((curve.label for curve in experiment.tickets if curve.run == run), spec.model.algebra if spec else run)
    return {
        "id": run,
        "label": label,
        "trials": ", ".join(str(trial) for trial in sorted({row.trial for row in rows})) or NOT_RUN,
        "levels": len(rows),
        "seconds": seconds(sum(one.seconds for one in made)),
        "devices": sorted({one.device for one in made}) or [NOT_RUN],
        "versions": sorted(versions) or [NOT_RUN],
        "finished": max((one.finished for one in made), default=NOT_RUN),
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


def _data(experiment: Experiment) -> dict[str, Any]:
    """Return the numbers that the script draws, rounded to what a screen can show."""
    return {
        "title": experiment.title,
        "metric": {
            "name": "Top-1" if experiment.metric == TOP1 else experiment.metric.short,
            "axis": experiment.metric.axis,
            "unit": experiment.metric.unit,
            "percent": experiment.metric.is_percent,
            "reverse": not experiment.metric.higher_is_better,
        },
        "curves": [_curve(curve) for curve in experiment.curves],
        "published": [
            {
                "label": f"{curve.algebra.capitalize()}, {curve.label}",
                "source": curve.label,
                "colour": COLOURS.get(curve.algebra, OTHER),
                "algebra": curve.algebra,
                "points": [[_digits(x), y] for x, y in curve.points],
            }
            for curve in experiment.published
        ],
    }


def _rounded(value: float, metric: Metric, digits: int) -> float:
    """Return a value of a metric, of percentages to so many decimals."""
    return round(value, digits) if metric.is_percent else _digits(value)


def _curve(curve: Curve) -> dict[str, Any]:
    look = style(curve)
    return {
        "label": curve.label,
        "run": curve.run,
        "algebra": curve.algebra,
        "ticket": curve.control == TICKET,
        "colour": [look.light, look.dark],
        "marker": look.marker,
        "dash": list(look.dash),
        "most": curve.most_trials,
        "points": [
            {
                "level": point.level,
                "density": _digits(point.density),
                "fraction": _digits(point.fraction_of_real),
                "macs": round(point.macs),
                "bytes": round(point.stored_bytes),
                "weights": round(point.weights),
                "top1": _rounded(point.top1.mean, curve.metric, 3),
                "std": None if point.top1.std is None else _rounded(point.top1.std, curve.metric, 3),
                "n": point.top1.n,
            }
            for point in curve.points
        ],
        "training": [
            {
                "level": training.level,
                "epochs": list(training.epochs),
                "top1": [_rounded(stat.mean, curve.metric, 2) for stat in training.top1],
                "std": [None if stat.std is None else _rounded(stat.std, curve.metric, 2) for stat in training.top1],
                "n": [stat.n for stat in training.top1],
            }
            for training in curve.training
        ],
        "layers": {
            name: [None if math.isnan(value) else _digits(value) for value in values] for name, values in curve.layers.items()
        },
    }


def _digits(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")
