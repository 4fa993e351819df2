"""Deployed networks as points: accuracy against bytes, MACs and latency, with each algebra's Pareto front."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from fourfold.report._style import COLOURS, OTHER
from fourfold.report._style import MARKERS as SHAPES
from fourfold.report.figures import FAINT, GREY, MARKERS, SETTINGS
from fourfold.report.scales import log_ticks

QUANTITIES = {
    "stored_bytes": "Stored: code and weights (kB)",
    "macs": "MACs for one image (thousands)",
    "seconds": "Latency of a call (µs)",
}
"""The horizontal axes and what they say, in the units of `UNITS`."""

UNITS = {"stored_bytes": 1e3, "macs": 1e3, "seconds": 1e-6}

WIDTH, HEIGHT = 10.0, 4.3
"""Inches."""


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """One network in one kind of numbers, as it was measured."""

    algebra: str
    numbers: str
    """`float32` or `int8`."""
    top1: float
    """Percent."""
    stored_bytes: int
    macs: int
    seconds: float


def front(points: Sequence[Deployed], quantity: str) -> list[Deployed]:
    """Return the points that no other beats, cheapest first: none is at least as accurate at no higher cost."""
    best: list[Deployed] = []
    for point in sorted(points, key=lambda point: (getattr(point, quantity), -point.top1)):
        if not best or point.top1 > best[-1].top1:
            best.append(point)
    return best


def draw_fronts(points: Sequence[Deployed], title: str, note: str) -> Figure:
    """Draw a panel a quantity: colour and shape say the algebra, hollow is int8, lines are the fronts of each algebra."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white")
        figure.text(0.012, 0.965, title, fontsize=11, fontweight="bold", va="top")
        lines = textwrap.wrap(note, 175)
        figure.text(0.012, 0.022, "\n".join(lines), fontsize=7.5, color=GREY, va="bottom", linespacing=1.3)
        bottom = 0.16 + 0.036 * len(lines)
        panels = figure.subplots(
            1,
            len(QUANTITIES),
            sharey=True,
            gridspec_kw={"left": 0.07, "right": 0.985, "bottom": bottom, "top": 0.82, "wspace": 0.08},
        )
        for axes, quantity in zip(panels, QUANTITIES, strict=True):
            _panel(axes, points, quantity)
        panels[0].set_ylabel("Top-1 test accuracy (%)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.062, 0.915), ncols=len(labels), frameon=False)
        return figure


def _panel(axes: Axes, points: Sequence[Deployed], quantity: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    unit = UNITS[quantity]
    for algebra in dict.fromkeys(point.algebra for point in points):
        own = [point for point in points if point.algebra == algebra]
        colour = COLOURS.get(algebra, OTHER)[0]
        marker = MARKERS[SHAPES.get(algebra, ("circle",))[0]]
        best = front(own, quantity)
        axes.plot(
            [getattr(point, quantity) / unit for point in best],
            [point.top1 for point in best],
            color=colour,
            linewidth=1.4,
            drawstyle="steps-post",
            label=f"{algebra}, front",
        )
        for numbers in dict.fromkeys(point.numbers for point in own):
            chosen = [point for point in own if point.numbers == numbers]
            axes.plot(
                [getattr(point, quantity) / unit for point in chosen],
                [point.top1 for point in chosen],
                linestyle="none",
                marker=marker,
                markersize=4.6,
                markeredgecolor=colour,
                markerfacecolor="white" if numbers == "int8" else colour,
                label=f"{algebra}, {numbers}",
                zorder=3,
            )
    values = [getattr(point, quantity) / unit for point in points]
    margin = max((max(values) / min(values)) ** 0.06, 1.1)
    low, high = min(values) / margin, max(values) * margin
    axes.set_xlim(low, high)  # first, so that the scale does not look for limits of its own
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.{max(0, -math.floor(math.log10(value)))}f}"))
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.set_xlabel(QUANTITIES[quantity])
