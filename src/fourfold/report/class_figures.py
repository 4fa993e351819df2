"""Results of classes as figures in files: a dot a class and level, and confusion matrices."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fourfold.report._style import style
from fourfold.report.classes import ClassResults
from fourfold.report.figures import FAINT, GREY, INK, SETTINGS, plain_text
from fourfold.report.finding_figures import FOOT, HEADING, framed
from fourfold.report.tables import Record
from fourfold.report.task_sections import DARK, LEAST_SHARE, MOST_NAMED
from fourfold.report.words import capital

MOST_DRAWN = 40
"""Classes of which a figure has dots; the first ones."""

SIGNS = {".": "●", "o": "○", "D": "◇"}
"""Markers as letters."""

COLUMNS, SIDE = 3, 2.5
"""Matrices side by side, and the side of one in inches."""

SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#c8500a"])


def drawn_records(results: Sequence[ClassResults]) -> list[Record]:
    """Return the numbers that `draw_classes` draws."""
    return [
        {
            "network": one.level.network,
            "run": one.level.curve.run,
            "level": one.level.point.level,
            "fraction_of_real": one.level.point.fraction_of_real,
            "class": name,
            "mean": value.mean if value else None,
            "std": value.std if value else None,
            "trials": value.n if value else 0,
        }
        for one in results
        for name, value in zip(one.names[:MOST_DRAWN], one.values, strict=False)
    ]


def draw_classes(results: Sequence[ClassResults], measure: str) -> Figure:
    """Draw a row of dots a class: filled where dense, hollow circles and diamonds for tickets."""
    with mpl.rc_context(SETTINGS):
        names = results[0].names[:MOST_DRAWN]
        rest = f" The first {MOST_DRAWN} of {len(results[0].names)} classes." if len(names) < len(results[0].names) else ""
        note = (
            f"On the test set, mean and sample standard deviation over trials. Hollow: tickets; diamonds: the sparsest.{rest}"
        )
        tall = 0.3 * len(names) + HEADING + FOOT + 0.16 * len(results)
        figure, top = framed(f"Each class: {measure}", "", note, 6.4, tall)
        width, height = figure.get_size_inches()
        left = 0.3 + 0.075 * min(20, max(map(len, names)))
        legend = 0.17 * len(results)
        box = (left / width, 1 - (top + tall - FOOT) / height, (width - left - 0.2) / width, (tall - FOOT - legend) / height)
        axes = figure.add_axes(box)
        for index, one in enumerate(results):
            _dots(axes, one, _marker(one, results), (index - (len(results) - 1) / 2) * 0.6 / len(results), len(names))
            place = 1 - (top - 0.06 + 0.17 * index) / height
            figure.text(
                left / width,
                place,
                plain_text(f"{SIGNS[_marker(one, results)]} {one.level.words}"),
                fontsize=8,
                va="top",
                color=_colour(one),
            )
        axes.set_yticks(range(len(names)), [plain_text(name[:20]) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(f"{capital(measure)} (%)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=FAINT, linewidth=0.7, axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        return figure


def draw_confusions(results: Sequence[ClassResults]) -> Figure:
    """Draw the confusion matrices of levels whose pairs of classes were counted, side by side."""
    with mpl.rc_context(SETTINGS):
        counted = [one for one in results if one.counts is not None]
        columns = min(COLUMNS, len(counted))
        rows = math.ceil(len(counted) / columns)
        names = counted[0].names if len(counted[0].names) <= MOST_NAMED else ()
        beside = 0.3 + (0.075 * min(14, max(map(len, names))) if names else 0.1)
        note = (
            "Rows: true classes. Columns: what they were taken for. In percent of the true class's items, summed over trials."
        )
        wide, tall = SIDE + beside + 0.15, SIDE + 0.9 * beside + HEADING
        figure, top = framed("Which classes are taken for which", "", note, wide * columns, tall * rows)
        width, height = figure.get_size_inches()
        for index, one in enumerate(counted):
            row, column = divmod(index, columns)
            left, above = column * wide + beside, top + row * tall + HEADING
            axes = figure.add_axes((left / width, 1 - (above + SIDE) / height, SIDE / width, SIDE / height))
            axes.set_title(plain_text(one.level.words), loc="left", fontsize=9, fontweight="bold")
            _matrix(axes, one, names)
        return figure


def _colour(one: ClassResults) -> str:
    return style(one.level.curve).light


def _marker(one: ClassResults, results: Sequence[ClassResults]) -> str:
    """Return the marker of a level: a circle, and a diamond for the second ticket of a network."""
    levels = [other.level.point.level for other in results if other.level.curve is one.level.curve]
    return "D" if len(levels) == 3 and one.level.point.level == max(levels) else "o" if one.level.point.level else "."


def _dots(axes: Axes, one: ClassResults, marker: str, shift: float, classes: int) -> None:
    """Draw the values of a level, a little below those of the level before it."""
    dense = one.level.point.level == 0
    for place, value in enumerate(one.values[:classes]):
        if value is not None:
            axes.errorbar(
                value.mean,
                place + shift,
                xerr=value.std,
                fmt="o" if dense else marker,
                color=_colour(one),
                markerfacecolor=_colour(one) if dense else "white",
                markersize=4,
                elinewidth=0.8,
                capsize=1.5,
            )


def _matrix(axes: Axes, one: ClassResults, names: Sequence[str]) -> None:
    shares = one.shares
    assert shares is not None, "results without counts have no confusion matrix"
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, interpolation="nearest")
    axes.tick_params(length=0, labelsize=7)
    axes.spines[:].set_color(GREY)
    if not names:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(f"taken for, {len(shares)} classes", fontsize=7.5)
        axes.set_ylabel("true class", fontsize=7.5)
        return
    short = [plain_text(name if len(name) <= 14 else f"{name[:13]}…") for name in names]
    axes.set_xticks(range(len(names)), short, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), short)
    for (row, column), share in np.ndenumerate(shares):
        if share >= LEAST_SHARE:
            axes.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if share > DARK else INK,
            )
