"""Sections that only some tasks have: confusion matrices, results of classes, and strips of examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fourfold.record.examples import VOID
from fourfold.report._experiments import Experiment
from fourfold.report.classes import ClassResults, class_results, class_table
from fourfold.report.pixels import label_map, photograph, shaded
from fourfold.report.section import Builder, Section
from fourfold.report.strips import Strip, boxes_of, strip_of
from fourfold.report.svg import element

MOST_NAMED = 12
"""Classes whose names and shares a confusion matrix says."""

LEAST_SHARE, DARK = 0.005, 0.7
"""Shares below the first are not written; those above the second are written in white."""

SHADE = (200, 80, 10)

CELLS = 260.0
"""Side of the square of cells."""

CONFUSION_NOTE = (
    "Rows are the true classes, columns what they were taken for, in percent of the true class's items, summed over trials; "
    "the diagonal is right."
)


def classes_section(experiment: Experiment) -> Section | None:
    """Return confusion matrices and the table of classes; None where rows do not have it."""
    table, results = class_table(experiment), class_results(experiment)
    if table is None:
        return None
    panels = [{"heading": one.level.words, "svg": draw_confusion(one)} for one in results if one.counts is not None]
    values = {"tables": [table], "open": 1, "panels": panels, "note": CONFUSION_NOTE}
    return Section(template="classes", values=values)


def examples_section(experiment: Experiment) -> Section | None:
    """Return a strip of examples; None where runs have left none."""
    strip = strip_of(experiment)
    if strip is None:
        return None
    draw = _boxes if strip.columns[0].map is None else _maps
    values = {
        "title": strip.title,
        "note": strip.note,
        "headings": ["Image", *(column.heading for column in strip.columns)],
        "rows": [draw(strip, item) for item in range(len(strip.images))],
        "classes": [(strip.name(label), strip.colour(label)) for label in strip.labels],
    }
    return Section(template="examples", values=values)


SECTIONS: dict[str, tuple[Builder, ...]] = {
    "classification": (classes_section,),
    "multilabel": (classes_section,),
    "segmentation": (examples_section, classes_section),
    "detection": (examples_section, classes_section),
}
"""By `task.name`."""


def draw_confusion(results: ClassResults) -> Markup:
    """Return a confusion matrix as inline SVG; of few classes with their names and shares."""
    shares = results.shares
    assert shares is not None, "results without counts have no confusion matrix"
    count = len(results.names)
    named = count <= MOST_NAMED
    letters = 6.2 * max(len(_short(name)) for name in results.names)
    left, top = (12 + letters, 8.0) if named else (18.0, 18.0)
    square: dict[str, Any] = {"x": left, "y": top, "width": CELLS, "height": CELLS}
    parts = [
        element("image", href=shaded(shares, SHADE), class_="cells", preserveAspectRatio="none", **square),
        element("rect", class_="frame", **square),
    ]
    if named:
        parts += _named(results.names, shares, left, top)
    else:
        rotation = f"translate(12,{top + CELLS / 2:.0f}) rotate(-90)"
        parts.append(element("text", f"true class, of {count}", class_="t", transform=rotation, text_anchor="middle"))
        parts.append(element("text", "taken for", x=left + CELLS / 2, y=12, class_="t", text_anchor="middle"))
    box = f"0 0 {left + CELLS + 4:.0f} {top + CELLS + (14 + 0.87 * letters if named else 8):.0f}"
    label = f"Confusion matrix of {results.level.words}"
    return element("svg", *parts, viewBox=box, class_="panel matrix", role="img", aria_label=label)


def _named(names: Sequence[str], shares: NDArray[np.float64], left: float, top: float) -> list[Markup]:
    """Return the names of classes beside and below the cells, and the shares in them."""
    step, parts = CELLS / len(names), []
    for row, name in enumerate(names):
        middle = top + (row + 0.5) * step + 4
        below = f"translate({left + (row + 0.5) * step + 4:.1f},{top + CELLS + 8:.1f}) rotate(-60)"
        parts.append(element("text", _short(name), x=left - 6, y=middle, text_anchor="end", class_="t"))
        parts.append(element("text", _short(name), text_anchor="end", class_="t", transform=below))
        for column, share in enumerate(shares[row].tolist()):
            if share >= LEAST_SHARE:
                look = "cell full" if share > DARK else "cell"
                x = left + (column + 0.5) * step
                parts.append(element("text", f"{100 * share:.0f}", x=x, y=middle, text_anchor="middle", class_=look))
    return parts


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def _maps(strip: Strip, item: int) -> list[Markup]:
    """Return an image and the label maps that are drawn of it."""
    colours = [strip.colour(label) for label in range(VOID + 1)]
    cells = [_image(photograph(strip.images[item]), f"image {item + 1}")]
    for column in strip.columns:
        assert column.map is not None, "a strip has label maps or boxes"
        cells.append(_image(label_map(column.map[item], colours), f"{column.heading}, image {item + 1}"))
    return cells


def _image(address: Markup, label: str) -> Markup:
    return element("img", src=address, alt=label)


def _boxes(strip: Strip, item: int) -> list[Markup]:
    """Return an image, and again with the boxes that are right or detected; its bytes are on the page once."""
    height, width = strip.images.shape[2:]
    name = f"example-{item}"
    photo = element("image", id=name, href=photograph(strip.images[item]), width=width, height=height)
    cells = [_drawing([photo], width, height, f"image {item + 1}")]
    for column in strip.columns:
        assert column.boxes is not None, "a strip has label maps or boxes"
        rectangles: list[Any] = [element("use", href=f"#{name}")]
        for label, score, (x0, y0, x1, y1) in boxes_of(column.boxes, item):
            strength = None if score is None else round(0.4 + 0.6 * min(score, 1.0), 1)
            place = {"x": x0 * width, "y": y0 * height, "width": max(x1 - x0, 0) * width, "height": max(y1 - y0, 0) * height}
            rectangles.append(element("rect", style=f"stroke:{strip.colour(label)}", opacity=strength, **place))
        cells.append(_drawing(rectangles, width, height, f"{column.heading}, image {item + 1}"))
    return cells


def _drawing(parts: list[Any], width: int, height: int, label: str) -> Markup:
    return element("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=label)
