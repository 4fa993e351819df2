"""Findings and controls as figures in files: the panels of the page, for papers, slides and a README."""

import math
import textwrap
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from fourfold.report._findings import Finding, GapBand, Line, Panel
from fourfold.report._style import COLOURS
from fourfold.report.dots import DotPanel, DotPlot
from fourfold.report.figures import FAINT, GREY, INK, SETTINGS, plain_text
from fourfold.report.panels import gap_range, line_label, signed, value_at, value_range
from fourfold.report.scales import log_ticks, tick
from fourfold.report.svg import spread
from fourfold.report.words import percent

UPPER, LOWER, BETWEEN = 2.35, 1.15, 0.3
"""Inches: heights of accuracy and of its gap, and the space between them."""

LEFT, FOOT, HEADING = 0.55, 0.52, 0.34

MOST_COLUMNS = 3


def draw_finding(finding: Finding) -> Figure:
    """Draw a finding: a column or more of accuracy over gap, a word beside every line, the finding as title."""
    with mpl.rc_context(SETTINGS):
        count = len(finding.panels)
        columns = min(count, 2 if count == 4 else MOST_COLUMNS)
        rows = math.ceil(count / columns)
        wide = 7.2 if columns == 1 else 5.0 if columns == 2 else 4.0
        labels = [line_label(line) for panel in finding.panels for line in panel.lines if not line.published]
        beside = 0.15 + 0.073 * max(map(len, labels))
        has_gap = any(panel.gap is not None for panel in finding.panels)
        tall = HEADING + UPPER + (BETWEEN + LOWER if has_gap else 0) + FOOT
        figure, top = framed(finding.title, finding.subtitle, finding.note, wide * columns, tall * rows)
        width, height = figure.get_size_inches()
        for index, panel in enumerate(finding.panels):
            row, column = divmod(index, columns)
            left = (LEFT + column * wide) / width
            across = (wide - LEFT - beside - 0.1) / width
            above = height - top - row * tall - HEADING
            axes = figure.add_axes((left, (above - UPPER) / height, across, UPPER / height))
            figure.text(left, (above + 0.08) / height, plain_text(panel.heading), fontweight="bold", va="bottom")
            lowest = axes
            if panel.gap is not None:
                place = (left, (above - UPPER - BETWEEN - LOWER) / height, across, LOWER / height)
                lowest = figure.add_axes(place, sharex=axes)
                _gap(lowest, panel.gap, panel)
                axes.tick_params(labelbottom=False, length=0)
            _values(axes, panel)
            _sizes(lowest, panel)
        return figure


def draw_dot_plot(plot: DotPlot) -> Figure:
    """Draw controls as dots with intervals, a panel a size."""
    with mpl.rc_context(SETTINGS):
        controls = list(dict.fromkeys(dot.control for panel in plot.panels for dot in panel.dots))
        tall = 0.42 * len(controls) + HEADING + FOOT
        wide, left = 2.9, 0.35 + 0.073 * max(map(len, controls))
        figure, top = framed(plot.title, "", plot.note, left + wide * len(plot.panels), tall)
        width, height = figure.get_size_inches()
        first: Axes | None = None
        for index, panel in enumerate(plot.panels):
            box = (
                (left + index * wide) / width,
                (height - top - tall + FOOT) / height,
                (wide - 0.2) / width,
                (tall - FOOT - HEADING) / height,
            )
            axes = figure.add_axes(box, sharex=first, sharey=first)
            first = first or axes
            _dots(axes, panel, controls, plot)
            axes.set_title(f"At {tick(percent, panel.at)} of the real parameters", loc="left", fontsize=9, fontweight="bold")
            axes.tick_params(labelleft=index == 0)
        unit = "points" if plot.metric.is_percent else plot.metric.unit
        figure.text(0.5, (0.34 + 0.15) / height, f"Control minus ticket{f' ({unit})' if unit else ''}", ha="center")
        x = 0.12
        for name, colour in plot.networks:
            figure.text(x / width, 1 - 0.47 / height, f"● {name}", color=colour[0], fontweight="bold", va="top")
            x += 0.35 + 0.085 * len(name)
        return figure


def framed(title: str, subtitle: str, note: str, width: float, height: float) -> tuple[Figure, float]:
    """Return an empty figure with its words around a space of so many inches, and how far from the top that begins."""
    titles = textwrap.wrap(title, int(width * 9.8))
    notes = textwrap.wrap(note, int(width * 16.5))
    top, bottom = 0.2 + 0.2 * len(titles) + 0.22, 0.155 * len(notes) + 0.12
    figure = Figure(figsize=(width, height + top + bottom), facecolor="white")
    FigureCanvasAgg(figure)
    whole = height + top + bottom
    place = 1 - 0.12 / whole
    figure.text(0.12 / width, place, plain_text("\n".join(titles)), fontsize=12, fontweight="bold", va="top")
    place -= (0.2 * len(titles) + 0.06) / whole
    figure.text(0.12 / width, place, plain_text(subtitle), fontsize=9, color=GREY, va="top")
    figure.text(
        0.12 / width, 0.08 / whole, plain_text("\n".join(notes)), fontsize=7.5, color=GREY, va="bottom", linespacing=1.3
    )
    return figure, top


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)


def _values(axes: Axes, panel: Panel) -> None:
    _bare(axes)
    low, high = value_range(panel)
    axes.set_ylim(*((low, high) if panel.metric.higher_is_better else (high, low)))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if panel.reference is not None:
        axes.axhline(panel.reference, color=COLOURS["real"][0], linewidth=0.9, linestyle=(0, (2, 3)))
        label = f"dense real {panel.metric.text(panel.reference)}"
        axes.annotate(
            label, (0, panel.reference), (4, -9), ("axes fraction", "data"), "offset points", fontsize=7.5, color=GREY
        )
    for line in panel.lines:
        _line(axes, line)
    axes.text(0.015, 0.03, plain_text(panel.metric.axis), transform=axes.transAxes, fontsize=8, color=GREY)
    ours = [line for line in panel.lines if not line.published]
    ends = [value_at(line, panel.span[0]) for line in ours]
    known = [line.y[-1] if end is None else end for line, end in zip(ours, ends, strict=True)]
    bounds = axes.get_ylim()
    parts = [min(max((value - bounds[0]) / (bounds[1] - bounds[0]), 0.03), 1) for value in known]
    for line, place in zip(ours, spread(parts, 0.068, 0.03, 0.97), strict=True):
        axes.text(
            1.015,
            place,
            plain_text(line_label(line)),
            transform=axes.transAxes,
            color=line.colour[0],
            fontweight="bold",
            va="center",
        )


def _line(axes: Axes, line: Line) -> None:
    colour = line.colour[0]
    if line.published:
        axes.plot(line.x, line.y, color=colour, linewidth=1.1, linestyle=(0, (4, 2)), alpha=0.6)
        axes.annotate(
            line_label(line),
            (line.x[-1], line.y[-1]),
            (4, 0),
            textcoords="offset points",
            fontsize=7.5,
            color=colour,
            clip_on=True,
        )
        return
    if any(std is not None for std in line.std):
        low = [y - (std or 0) for y, std in zip(line.y, line.std, strict=True)]
        high = [y + (std or 0) for y, std in zip(line.y, line.std, strict=True)]
        axes.fill_between(line.x, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(line.x, line.y, color=colour, linewidth=1.7, marker="o", markersize=2.6)


def _gap(axes: Axes, band: GapBand, panel: Panel) -> None:
    _bare(axes)
    low, high = gap_range(band, panel.span)
    axes.set_ylim(*((low, high) if panel.metric.higher_is_better else (high, low)))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(round(value, 10))))
    axes.axhline(0, color=INK, linewidth=1.0, zorder=2)
    colour = band.colour[0]
    if any(one.low is not None for one in band.gaps):
        lows = [one.mean if one.low is None else one.low for one in band.gaps]
        highs = [one.mean if one.high is None else one.high for one in band.gaps]
        axes.fill_between(band.x, lows, highs, color=colour, alpha=0.2, linewidth=0)
        axes.plot(band.x, [one.mean for one in band.gaps], color=colour, linewidth=1.7)
    else:
        axes.plot(band.x, [one.mean for one in band.gaps], color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
    for ranges, pair in ((band.better, band.colour), (band.worse, COLOURS["real"])):
        for ends in ranges:
            axes.plot(ends, (0, 0), color=pair[0], linewidth=4.0, solid_capstyle="round", zorder=3)
    unit = "points" if panel.metric.is_percent else panel.metric.unit
    axes.set_title(f"Gap to real{f' ({unit})' if unit else ''}", loc="left", fontsize=8, color=GREY, pad=3)
    name = band.name if band.name.isupper() else band.name.lower()
    axes.set_title(f"↑ {name} ahead", loc="right", fontsize=8, color=GREY, pad=3)


def _sizes(axes: Axes, panel: Panel) -> None:
    margin = max((panel.span[1] / panel.span[0]) ** 0.02, 1.02)
    low, high = panel.span[0] / margin, panel.span[1] * margin
    axes.set_xscale("log")
    axes.set_xlim(high, low)  # dense left
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high, most=8)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(percent, value)))
    axes.set_xlabel(panel.x_label)


def _dots(axes: Axes, panel: DotPanel, controls: Sequence[str], plot: DotPlot) -> None:
    _bare(axes)
    axes.axvline(0, color=INK, linewidth=1.0)
    names = [name for name, _ in plot.networks]
    for dot in panel.dots:
        offset = (names.index(dot.network) - (len(names) - 1) / 2) * 0.3
        y, difference = controls.index(dot.control) + offset, dot.gap
        known = difference.low is not None and difference.high is not None
        if difference.low is not None and difference.high is not None:
            axes.plot((difference.low, difference.high), (y, y), color=dot.colour[0], linewidth=1.4)
        holds_zero = not known or (difference.low or 0) <= 0 <= (difference.high or 0)
        face = "white" if holds_zero else dot.colour[0]
        axes.plot(difference.mean, y, "o", markersize=4.5, markeredgecolor=dot.colour[0], markerfacecolor=face)
    axes.set_yticks(range(len(controls)), controls)
    axes.set_ylim(len(controls) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
