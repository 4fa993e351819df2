"""Events and rows in the words of the terminal, for the live table and for plain lines."""

from collections.abc import Iterable, Sequence

from fourfold.execution import Event
from fourfold.record import Metric, Row, Spec, Value
from fourfold.report._experiments import settings_told

UNFINISHED = ("failed", "broken", "out-of-time", "stopped")
"""Kinds of event that end a trial before its last level."""


def names_of(specs: Sequence[Spec]) -> dict[str, str]:
    """Return what the trials of each run go by: its algebra, and in what it differs from the other runs of that algebra."""
    names = {}
    for spec in specs:
        algebra = spec.model.algebra
        settings = settings_told(spec, [other for other in specs if other.model.algebra == algebra])
        names[spec.id] = f"{algebra} ({settings})" if settings else algebra
    return names


def engines_of(rows: Iterable[Row]) -> str:
    """Return the names of the engines that trained some rows."""
    return ", ".join(sorted({row.provenance.engine for row in rows if row.provenance.engine}))


def short(value: Value) -> str:
    """Return a value of a spec for a line or a cell."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def number(metric: Metric, value: float) -> str:
    """Return a value of a metric for a cell, without its unit."""
    return f"{value:.2f}" if metric.is_percent else f"{value:.4g}"


def duration_of(row: Row) -> str:
    """Return how long a level took, and by which engine, such as `1.2 s, native`."""
    engine = f", {row.provenance.engine}" if row.provenance.engine else ""
    return f"{row.provenance.seconds:.1f} s{engine}"


def collapse_of(row: Row) -> str:
    """Return which layers have lost all their weights, as the end of a sentence; empty if none has."""
    return f"; no weight is left in {', '.join(row.collapsed)}" if row.collapsed else ""


def ending_of(event: Event) -> str:
    """Return how a trial ended that did not finish."""
    if event.kind == "failed":
        return f"failed at {event.message}"
    if event.kind == "broken":
        return f"ended by an error: {event.message}"
    why = "the time budget is spent" if event.kind == "out-of-time" else "stopped"
    return f"{why} at {event.message}" if event.message else why
