"""Controls as dots: how far each control is from the tickets of its network, with intervals, at a few sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fourfold.record import Metric
from fourfold.report._curves import ALGEBRAS, Curve
from fourfold.report._experiments import Experiment
from fourfold.report._style import COLOURS, OTHER
from fourfold.report.gaps import gap_at
from fourfold.report.scales import Scale, linear_ticks, padded, tick
from fourfold.report.statistics import Interval
from fourfold.report.svg import colour, element, path
from fourfold.report.tables import Record
from fourfold.report.wording import control_words, variant_words
from fourfold.report.words import gap, percent

SIZES = (0.5, 0.25, 0.125, 0.06, 0.03, 0.015, 0.01, 0.005, 0.003)
"""Fractions of real at which controls may be held against tickets."""

MOST_PANELS = 3

ROW, HEAD, FOOT, SIDE = 40.0, 8.0, 42.0, 14.0


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One control of one network at one size."""

    control: str
    """In words."""
    network: str
    run: str
    colour: tuple[str, str]
    gap: Interval
    """The control's value minus its ticket's, over paired trials."""


@dataclass(frozen=True, kw_only=True)
class DotPanel:
    """All controls at one size."""

    at: float
    """Fraction of real."""
    dots: tuple[Dot, ...]


@dataclass(frozen=True, kw_only=True)
class DotPlot:
    """Controls against tickets, one panel a size."""

    title: str
    note: str
    metric: Metric
    networks: tuple[tuple[str, tuple[str, str]], ...]
    """Names and colours of the networks whose controls they are."""
    panels: tuple[DotPanel, ...]

    def records(self) -> list[Record]:
        """Return the numbers drawn, one record a dot."""
        return [
            {
                "fraction_of_real": panel.at,
                "control": dot.control,
                "network": dot.network,
                "run": dot.run,
                "gap_to_ticket_mean": dot.gap.mean,
                "gap_to_ticket_low_95": dot.gap.low,
                "gap_to_ticket_high_95": dot.gap.high,
                "trials": dot.gap.trials,
            }
            for panel in self.panels
            for dot in panel.dots
        ]


def dot_plot(experiment: Experiment) -> DotPlot | None:
    """Return the controls of an experiment against their tickets; None where none has a size in common with its ticket."""
    tickets = {curve.run: curve for curve in experiment.tickets}
    controls = [curve for curve in experiment.controls if curve.run in tickets]
    by_size = [(at, _dots(at, controls, tickets, experiment)) for at in SIZES]
    most = max((len(dots) for _, dots in by_size), default=0)
    if not most:
        return None
    whole = [(at, dots) for at, dots in by_size if len(dots) >= 0.75 * most]
    panels = tuple(DotPanel(at=at, dots=tuple(dots)) for at, dots in _spread(whole))
    networks = dict.fromkeys((dot.network, dot.colour) for panel in panels for dot in panel.dots)
    return DotPlot(
        title=_title(panels, experiment.metric),
        note="The control minus the ticket of the same size and trial: mean and 95 % interval. Hollow: it holds zero.",
        metric=experiment.metric,
        networks=tuple(networks),
        panels=panels,
    )


def draw_dots(plot: DotPlot, panel: DotPanel, *, width: float = 400) -> Markup:
    """Return one panel as inline SVG: a row a control, its words above its dots."""
    controls = list(dict.fromkeys(dot.control for one in plot.panels for dot in one.dots))
    ends = [end for one in plot.panels for dot in one.dots for end in (dot.gap.mean, dot.gap.low, dot.gap.high)]
    low, high = _bounds([end for end in ends if end is not None], [dot.gap.mean for one in plot.panels for dot in one.dots])
    x = Scale(low=low, high=high, at_low=SIDE, at_high=width - SIDE)
    bottom = HEAD + ROW * len(controls)
    parts = []
    for value in linear_ticks(low, high, 6):
        parts.append(element("line", x1=x(value), x2=x(value), y1=HEAD, y2=bottom, class_="grid" if value else "zero"))
        text = f"{value:+.6g}".replace("-", "−") if value else "0"
        parts.append(element("text", text, x=x(value), y=bottom + 16, text_anchor="middle"))
    for index, control in enumerate(controls):
        top = HEAD + ROW * index
        if index:
            parts.append(element("line", x1=0, x2=width, y1=top, y2=top, class_="edge thin"))
        parts.append(element("text", control, x=SIDE, y=top + 14, class_="halo"))
        own = [dot for dot in panel.dots if dot.control == control]
        for number, dot in enumerate(own):
            parts.append(_dot(dot, x, top + 23 + 9 * number, width))
    unit = "points" if plot.metric.is_percent else plot.metric.unit
    title = f"Control minus ticket{f', {unit}' if unit else ''}"
    parts.append(element("text", title, x=width / 2, y=bottom + 34, text_anchor="middle", class_="t"))
    view = f"0 0 {width:g} {bottom + FOOT:g}"
    text = f"Controls at {tick(percent, panel.at)} of the real parameters"
    return element("svg", *parts, viewBox=view, role="img", class_="panel", aria_label=text)


def _dot(dot: Dot, x: Scale, y: float, width: float) -> Markup:
    difference = dot.gap
    known = difference.low is not None and difference.high is not None
    holds_zero = not known or (difference.low or 0) <= 0 <= (difference.high or 0)
    parts = []
    if difference.low is not None and difference.high is not None:
        left, right = (min(max(x(end), 1), width - 1) for end in (difference.low, difference.high))
        parts.append(element("path", d=path([(left, y), (right, y)]), class_="line"))
    parts.append(element("circle", cx=x(difference.mean), cy=y, r=3.6, class_="hollow" if holds_zero else "dot"))
    interval = (
        f" [{gap(difference.low)}, {gap(difference.high)}]"
        if difference.low is not None and difference.high is not None
        else ""
    )
    parts.append(
        element("title", f"{dot.network}, {dot.control}: {gap(difference.mean)}{interval} ({difference.trials} trials)")
    )
    return element("g", *parts, style=colour(dot.colour))


def _dots(at: float, controls: Sequence[Curve], tickets: dict[str, Curve], experiment: Experiment) -> list[Dot]:
    dots = []
    for curve in controls:
        ticket = tickets[curve.run]
        difference = gap_at(curve.traces, ticket.traces, at)
        if difference is None:
            continue
        variant = variant_words(ticket, experiment)
        name = ALGEBRAS.get(ticket.algebra, ticket.algebra)
        dots.append(
            Dot(
                control=control_words(curve.control),
                network=f"{name}, {variant}" if variant else name,
                run=curve.run,
                colour=COLOURS.get(ticket.algebra, OTHER),
                gap=difference,
            )
        )
    return dots


def _spread(by_size: Sequence[tuple[float, list[Dot]]]) -> list[tuple[float, list[Dot]]]:
    """Return at most three sizes, the first and the last among them."""
    if len(by_size) <= MOST_PANELS:
        return list(by_size)
    step = (len(by_size) - 1) / (MOST_PANELS - 1)
    return [by_size[round(step * index)] for index in range(MOST_PANELS)]


def _bounds(ends: Sequence[float], means: Sequence[float]) -> tuple[float, float]:
    """Return the range of all means and zero, and of intervals where they are not much wider than that."""
    low, high = min(0.0, *means), max(0.0, *means)
    reach = high - low
    kept = [min(max(end, low - 0.5 * reach), high + 0.5 * reach) for end in ends]
    return padded([low, high, *kept], 0.04)


def _title(panels: Sequence[DotPanel], metric: Metric) -> str:
    """Return how many controls are shown to be worse than their tickets at the smallest size."""
    last = panels[-1]
    better = 1 if metric.higher_is_better else -1
    worse = [dot for dot in last.dots if _excludes_zero(dot, -better)]
    ahead = [dot for dot in last.dots if _excludes_zero(dot, better)]
    more = f", {len(ahead)} to be better" if ahead else ""
    counted = f"{len(worse)} of {len(last.dots)} controls are shown to be worse than their tickets{more}"
    return f"At {tick(percent, last.at)} of the real parameters {counted}"


def _excludes_zero(dot: Dot, sign: int) -> bool:
    low, high = dot.gap.low, dot.gap.high
    return low is not None and high is not None and (low > 0 if sign > 0 else high < 0)
