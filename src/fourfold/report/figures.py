"""Figures for papers and slides, drawn with matplotlib into its own canvas: no pyplot, no window, no global state."""

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from fourfold.report.plots import Heat, Plot
from fourfold.report.scales import log_ticks, tick
from fourfold.report.series import Series
from fourfold.report.svg import spread
from fourfold.report.words import count, percent

DPI = 160
WIDTH = 7.2
"""Inches."""

INK, GREY, FAINT = "#1b1f24", "#59616c", "#e3e6ea"

SETTINGS: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "fourfold",
    "svg.fonttype": "none",
    "path.simplify": False,
}
"""The whole style; in force only while a figure is drawn and saved."""

MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "plus": "P", "cross": "X", "none": ""}

_LEFT, _RIGHT, _BOTTOM_AXIS = 0.68, 0.2, 0.52  # inches around the axes
_NOTE_LINE, _TITLE_LINE, _LABEL_LINE = 0.155, 0.19, 0.135
_LETTER = 0.07  # inches of a letter beside a line

LABEL_LETTERS, TITLE_LETTERS = 26, 78
"""Letters of a line of a label and of a title."""


def draw(plot: Plot) -> Figure:
    """Draw a line plot: published curves dashed and pale behind, ours with error bars (or bands, by epoch) in front, and a word
    beside every line."""
    with mpl.rc_context(SETTINGS):
        note = textwrap.wrap(plot.note, 125)
        labels = [textwrap.wrap(series.words or series.label, LABEL_LETTERS) for series in plot.series]
        beside = 0.16 + _LETTER * max(len(line) for label in labels for line in label)
        tall = max(3.3, _LABEL_LINE * sum(map(len, labels)))
        title = textwrap.wrap(plot.finding or plot.title, TITLE_LETTERS)
        top = 0.2 + _TITLE_LINE * len(title) + (0.2 if plot.finding else 0.08)
        bottom = _BOTTOM_AXIS + _NOTE_LINE * len(note) + 0.1
        figure, axes = _canvas(title, note, height=tall + top + bottom, top=top, bottom=bottom, right=beside)
        if plot.finding:
            place = 1 - (0.16 + _TITLE_LINE * len(title)) / figure.get_figheight()
            figure.text(0.12 / WIDTH, place, plain_text(plot.title), fontsize=8.5, color=GREY, va="top")
        for order, series in enumerate(plot.series):
            _line(axes, series, order, bars=plot.quantity != "epoch")
        _axes(axes, plot)
        _words(axes, plot, labels, tall)
        return figure


def _words(axes: Axes, plot: Plot, labels: Sequence[Sequence[str]], tall: float) -> None:
    """Write what every line is beside its end, at least a line of type apart, joined by a thread where it had to move."""
    low, high = axes.get_ylim()
    ends = [(series.y[-1] - low) / (high - low) for series in plot.series]
    heights = [_LABEL_LINE * len(label) / tall for label in labels]
    places = spread(ends, max(heights), max(heights) / 2, 1 - max(heights) / 2)
    left, right = axes.get_xlim()
    for series, label, end, place in zip(plot.series, labels, ends, places, strict=True):
        colour = series.style.light
        x = _part(series.x[-1], left, right, logarithmic=plot.logarithmic)
        axes.annotate(
            plain_text("\n".join(label)),
            xy=(x, end),
            xytext=(1 + 0.1 / (axes.get_position().width * WIDTH), place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            fontsize=7.5,
            fontweight="normal" if series.published else "bold",
            va="center",
            linespacing=1.1,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.45, "shrinkA": 1, "shrinkB": 2},
        )


def _part(value: float, left: float, right: float, *, logarithmic: bool) -> float:
    """Return where a value lies between the ends of an axis, from 0 to 1."""
    if logarithmic:
        value, left, right = math.log(value), math.log(left), math.log(right)
    return (value - left) / (right - left)


def draw_heat(heat: Heat) -> Figure:
    """Draw the layers' densities by level, one panel a curve, numbers in the cells where they fit."""
    with mpl.rc_context(SETTINGS):
        note = textwrap.wrap(heat.note, 125)
        row = 0.2 if max(len(curve.layers) for curve in heat.panels) <= 30 else 0.07
        heights = [min(max(1.0, row * len(curve.layers)), 6.0) for curve in heat.panels]
        longest = max(len(layer) for curve in heat.panels for layer in curve.layers)
        left = 0.45 + 0.068 * min(longest, 24)
        bottom = _BOTTOM_AXIS + _NOTE_LINE * len(note) + 0.1
        gap, top = 0.62, 0.72
        height = top + sum(heights) + gap * (len(heights) - 1) + bottom
        figure = _figure(heat.title, note, height)
        densities = np.concatenate([np.array(list(curve.layers.values())).ravel() for curve in heat.panels])
        low = max(float(np.nanmin(densities[densities > 0], initial=1.0)), 1e-5)
        norm = LogNorm(vmin=min(low, 0.5), vmax=1.0)
        levels = max(point.level for curve in heat.panels for point in curve.points) + 1
        numbers = row > 0.1 and levels <= 30
        if not numbers:
            _colour_bar(figure, norm)
        above = height - top
        for curve, tall in zip(heat.panels, heights, strict=True):
            above -= tall
            axes = figure.add_axes((left / WIDTH, above / height, (WIDTH - left - _RIGHT) / WIDTH, tall / height))
            _cells(axes, curve, norm, levels, numbers=numbers)
            axes.set_title(curve.label, loc="left", fontsize=9, fontweight="bold", pad=4)
            if curve is heat.panels[-1]:
                axes.set_xlabel("Level")
            above -= gap
        return figure


def png(figure: Figure) -> bytes:
    """Return the figure as PNG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    with mpl.rc_context(SETTINGS):
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    FigureCanvasSVG(figure)
    with mpl.rc_context(SETTINGS):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _figure(title: str, note: list[str], height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.12 / WIDTH, 1 - 0.14 / height, plain_text(title), fontsize=11, fontweight="bold", va="top")
    figure.text(0.12 / WIDTH, 0.1 / height, plain_text("\n".join(note)), fontsize=7.5, color=GREY, va="bottom", linespacing=1.3)
    return figure


def _canvas(
    title: Sequence[str], note: list[str], *, height: float, top: float, bottom: float, right: float
) -> tuple[Figure, Axes]:
    figure = _figure("\n".join(title), note, height)
    box = (_LEFT / WIDTH, bottom / height, (WIDTH - _LEFT - right) / WIDTH, (height - top - bottom) / height)
    axes = figure.add_axes(box)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _line(axes: Axes, series: Series, order: int, *, bars: bool) -> None:
    colour = series.style.light
    dash: Any = (0, series.style.dash) if series.style.dash else "solid"
    look: dict[str, Any] = {"color": colour, "linestyle": dash, "label": plain_text(series.label), "zorder": 3 + order}
    if series.published:
        axes.plot(series.x, series.y, linewidth=1.1, alpha=0.5, **look)
        return
    std = np.array([0.0 if value is None else value for value in series.std])
    spread = any(value is not None for value in series.std)
    marker = MARKERS[series.style.marker]
    small: dict[str, Any] = {"marker": marker, "markersize": 4.2, "markeredgewidth": 1.0, "markeredgecolor": colour}
    if not bars:
        # A marker every so often is enough to tell lines apart; on every epoch they would hide the curve.
        every = max(1, len(series.x) // 8)
        if spread:
            y = np.array(series.y)
            axes.fill_between(series.x, y - std, y + std, color=colour, alpha=0.16, linewidth=0, zorder=2)
        axes.plot(series.x, series.y, linewidth=1.4, markevery=(order % every, every), **small, **look)
        return
    if spread:
        axes.errorbar(
            series.x, series.y, yerr=std, fmt="none", ecolor=colour, elinewidth=0.9, capsize=2, alpha=0.75, zorder=3 + order
        )
    axes.plot(series.x, series.y, linewidth=1.6, **small, **look)
    few = [index for index, full in enumerate(series.full) if not full]
    if few:
        axes.plot(
            [series.x[index] for index in few],
            [series.y[index] for index in few],
            linestyle="none",
            markerfacecolor="white",
            color=colour,
            zorder=4 + order,
            **small,
        )


def _axes(axes: Axes, plot: Plot) -> None:
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.metric.axis)
    if not plot.metric.higher_is_better:
        axes.yaxis.set_inverted(True)  # up is better in every figure
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    if plot.quantity == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True))
        return
    x = [value for series in plot.series for value in series.x]
    low, high = min(x), max(x)
    label = percent if plot.quantity == "fraction_of_real" else count
    if plot.logarithmic:
        axes.set_xscale("log")
        margin = max((high / low) ** 0.03, 1.05)
        low, high = low / margin, high * margin
        axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(high, low)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 2, 5, 10]))
        axes.set_xlim(high * 1.02, -0.02 * high)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(label, value)))


def _cells(axes: Axes, curve: Any, norm: LogNorm, levels: int, *, numbers: bool) -> None:
    names = list(curve.layers)
    grid = np.full((len(names), levels), np.nan)
    for index, point in enumerate(curve.points):
        grid[:, point.level] = [curve.layers[name][index] for name in names]
    floor = float(norm.vmin or 0)
    visible = np.where(grid == 0, floor, grid)
    axes.imshow(visible, norm=norm, cmap="YlGnBu", aspect="auto", interpolation="nearest")
    axes.set_facecolor("white")
    axes.tick_params(length=0, labelsize=7.5)
    axes.spines[:].set_visible(False)
    axes.set_xticks(range(0, levels, 1 if levels <= 30 else 5))
    step = 1 if len(names) <= 30 else math.ceil(len(names) / 30)
    axes.set_yticks(range(0, len(names), step), [plain_text(_shorten(name)) for name in names[::step]])
    if not numbers:
        return
    dark = np.asarray(norm(visible)) > 0.6
    for (row, column), value in np.ndenumerate(grid):
        if np.isnan(value):
            continue
        axes.text(
            column, row, _cell(value), ha="center", va="center", fontsize=6.2, color="white" if dark[row, column] else INK
        )


def _cell(density: float) -> str:
    """Return a density in percent with as many digits as a cell can hold; only what is gone is 0."""
    value = 100 * density
    if value >= 9.95 or value == 0:
        return f"{value:.0f}"
    if value < 0.005:
        return "<.01"
    return f"{value:.{1 if value >= 0.095 else 2}f}".removeprefix("0")


def _colour_bar(figure: Figure, norm: LogNorm) -> None:
    """Draw the scale of the colours, where the cells have no room for numbers."""
    height = figure.get_figheight()
    axes = figure.add_axes((1 - (_RIGHT + 2.3) / WIDTH, 1 - 0.46 / height, 2.2 / WIDTH, 0.1 / height))
    axes.set_label("scale")
    low = float(norm.vmin or 0)
    axes.imshow(np.geomspace(low, 1, 128)[None], norm=norm, cmap="YlGnBu", aspect="auto", extent=(np.log10(low), 0, 0, 1))
    axes.set_yticks([])
    ticks = [value for value in (1.0, 0.1, 0.01, 1e-3, 1e-4) if value >= low]
    axes.set_xticks([math.log10(value) for value in ticks], [tick(percent, value) for value in ticks])
    axes.tick_params(labelsize=7, length=2, pad=1.5)
    axes.spines[:].set_visible(False)


def _shorten(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:11]}…{name[-12:]}"


def plain_text(text: str) -> str:
    """Keep matplotlib from reading dollar signs in a name as mathematics."""
    return text.replace("$", r"\$")
