"""A strip of examples as a figure in files."""

import textwrap

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fourfold.record.examples import VOID
from fourfold.report.figures import SETTINGS, plain_text
from fourfold.report.finding_figures import framed
from fourfold.report.strips import Column, Strip, boxes_of

WIDE, BETWEEN, HEADING = 1.5, 0.06, 0.42
"""Inches: of one image, between two, and of the headings above."""


def draw_strip(strip: Strip) -> Figure:
    """Draw a row an item: the image, what is right, and what every chosen level says."""
    with mpl.rc_context(SETTINGS):
        count, _, pixels_high, pixels_wide = strip.images.shape
        tall = WIDE * pixels_high / pixels_wide
        columns = 1 + len(strip.columns)
        lines = -(-len(strip.labels) // 6)
        whole = HEADING + count * (tall + BETWEEN) + 0.2 * lines + 0.1
        figure, top = framed(strip.title, "", strip.note, columns * (WIDE + BETWEEN) + 0.24, whole)
        width, height = figure.get_size_inches()
        for index, label in enumerate(strip.labels):
            row, column = divmod(index, 6)
            x, y = 0.12 + column * (width - 0.24) / 6, top - 0.1 + 0.2 * row
            figure.text(x / width, 1 - y / height, "■", color=strip.colour(label), va="top")
            figure.text((x + 0.14) / width, 1 - y / height, plain_text(strip.name(label)[:22]), va="top", fontsize=8)
        top += 0.2 * lines
        for number, heading in enumerate(["Image", *(column.heading for column in strip.columns)]):
            left = 0.12 + number * (WIDE + BETWEEN)
            place = 1 - (top + HEADING - 0.06) / height
            text = plain_text("\n".join(textwrap.wrap(heading, 22)))
            figure.text(left / width, place, text, va="bottom", fontsize=8, fontweight="bold")
            for item in range(count):
                low = top + HEADING + item * (tall + BETWEEN) + tall
                axes = figure.add_axes((left / width, 1 - low / height, WIDE / width, tall / height))
                axes.set_axis_off()
                _draw(axes, strip, item, strip.columns[number - 1] if number else None)
        return figure


def _draw(axes: Axes, strip: Strip, item: int, column: Column | None) -> None:
    if column is not None and column.map is not None:
        colours = ListedColormap([strip.colour(label) for label in range(VOID + 1)])
        axes.imshow(column.map[item], cmap=colours, vmin=0, vmax=VOID, interpolation="nearest")
        return
    image = strip.images[item]
    axes.imshow(np.repeat(image, 3, axis=0).transpose(1, 2, 0) if len(image) == 1 else image.transpose(1, 2, 0))
    if column is None or column.boxes is None:
        return
    high, wide = image.shape[1:]
    for label, score, (x0, y0, x1, y1) in boxes_of(column.boxes, item):
        strength = 1.0 if score is None else 0.4 + 0.6 * min(score, 1.0)
        place, size = (x0 * wide - 0.5, y0 * high - 0.5), (max(x1 - x0, 0) * wide, max(y1 - y0, 0) * high)
        axes.add_patch(Rectangle(place, *size, fill=False, edgecolor=strip.colour(label), linewidth=1.1, alpha=strength))
