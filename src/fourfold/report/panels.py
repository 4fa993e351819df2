"""Panels of findings as inline SVG: accuracy, its gap underneath, a word beside every line; readable without a script."""

from dataclasses import dataclass
from statistics import median

import numpy as np
from markupsafe import Markup

from fourfold.record import Metric
from fourfold.report._findings import GapBand, Line, Panel
from fourfold.report._style import COLOURS
from fourfold.report.scales import Scale, linear_ticks, log_ticks, padded, tick
from fourfold.report.svg import colour, element, path, spread
from fourfold.report.words import percent

LEFT, TOP, GAP_HEAD, FOOT = 42.0, 10.0, 26.0, 40.0
LETTER = 6.5
"""Widths of a letter of a label, in the units of the drawing; type is 12 of them high."""

MOST_LETTERS = 22


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle of a drawing that data are drawn into."""

    left: float
    right: float
    top: float
    bottom: float


def draw_panel(panel: Panel, *, width: float = 440) -> Markup:
    """Return a panel as an SVG of its own, as wide as its place allows."""
    labels = [line_label(line) for line in panel.lines if not line.published]
    right = width - 10 - LETTER * max(len(label) for label in labels)
    upper = Box(left=LEFT, right=right, top=TOP, bottom=TOP + 0.47 * width)
    lower = None
    if panel.gap is not None:
        top = upper.bottom + GAP_HEAD
        lower = Box(left=LEFT, right=right, top=top, bottom=top + 0.25 * width)
    bottom = (lower or upper).bottom
    margin = max((panel.span[1] / panel.span[0]) ** 0.02, 1.02)
    x = Scale(low=panel.span[0] / margin, high=panel.span[1] * margin, at_low=right, at_high=LEFT, logarithmic=True)
    parts = [*_columns(x, upper, lower), *_upper(panel, labels, x, upper)]
    if panel.gap is not None and lower is not None:
        parts += _lower(panel.gap, panel.metric, panel.span, x, lower)
    parts.append(element("text", panel.x_label, x=(LEFT + right) / 2, y=bottom + 33, text_anchor="middle", class_="t"))
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {width:g} {bottom + FOOT:.0f}",
        role="img",
        class_="panel",
        aria_label=f"{panel.heading}. {panel.text}".strip(),
    )


def sparkline(band: GapBand, span: tuple[float, float], metric: Metric, *, width: float = 150, height: float = 44) -> Markup:
    """Return a gap with its interval, the zero line and the sizes where a difference is shown, as small as a word."""
    x = Scale(low=span[0] / 1.01, high=span[1] * 1.01, at_low=width - 1, at_high=1, logarithmic=True)
    low, high = gap_range(band, span)
    y = _upright(low, high, 1, height - 1, metric)
    return element(
        "svg",
        element("line", x1=0, x2=width, y1=y(0), y2=y(0), class_="zero"),
        *_band(band, x, y),
        viewBox=f"0 0 {width:g} {height:g}",
        preserveAspectRatio="none",
        class_="spark",
        aria_hidden="true",
    )


def gap_range(band: GapBand, span: tuple[float, float]) -> tuple[float, float]:
    """Return the vertical range of a gap: every mean, zero, and intervals as far as they are not many times as wide."""
    inside = [one for x, one in zip(band.x, band.gaps, strict=True) if span[0] / 1.001 <= x <= span[1] * 1.001]
    inside = inside or list(band.gaps)
    means = [one.mean for one in inside]
    ends = [end for one in inside for end in (one.low, one.high) if end is not None]
    reach = max(max(means) - min(means), 0.0)
    if ends:
        half = [(one.high - one.low) / 2 for one in inside if one.low is not None and one.high is not None]
        reach = max(reach, 2 * median(half))
    bounds = (min(means) - 0.6 * reach, max(means) + 0.6 * reach)
    kept = [min(max(end, bounds[0]), bounds[1]) for end in ends]
    return padded([*means, *kept, 0.0], 0.08)


def _upright(low: float, high: float, top: float, bottom: float, metric: Metric) -> Scale:
    """Return a vertical scale on which up is better."""
    if metric.higher_is_better:
        return Scale(low=low, high=high, at_low=bottom, at_high=top)
    return Scale(low=low, high=high, at_low=top, at_high=bottom)


def _columns(x: Scale, upper: Box, lower: Box | None) -> list[Markup]:
    parts = []
    bottom = (lower or upper).bottom
    for value in log_ticks(x.low, x.high, most=max(2, int((upper.right - upper.left) / 44))):
        for box in filter(None, (upper, lower)):
            parts.append(element("line", x1=x(value), x2=x(value), y1=box.top, y2=box.bottom, class_="grid"))
        parts.append(element("text", tick(percent, value), x=x(value), y=bottom + 16, text_anchor="middle"))
    parts.append(element("line", x1=upper.left, x2=upper.right, y1=bottom, y2=bottom, class_="edge"))
    return parts


def _upper(panel: Panel, labels: list[str], x: Scale, box: Box) -> list[Markup]:
    low, high = value_range(panel)
    y = _upright(low, high, box.top, box.bottom, panel.metric)
    parts = []
    for value in linear_ticks(low, high, 5):
        parts.append(element("line", x1=box.left, x2=box.right, y1=y(value), y2=y(value), class_="grid"))
        parts.append(element("text", _plain(value), x=box.left - 6, y=y(value) + 4, text_anchor="end"))
    if panel.reference is not None:
        place = y(panel.reference)
        parts.append(element("line", x1=box.left, x2=box.right, y1=place, y2=place, class_="ref"))
        below = place + 13 if panel.metric.higher_is_better else place - 5
        words = f"dense real {panel.metric.text(panel.reference)}"
        parts.append(element("text", words, x=box.left + 4, y=below, class_="t"))
    lines = [_line(line, x, y, box) for line in panel.lines]
    parts.append(_clipped(box, lines))
    ours = [line for line in panel.lines if not line.published]
    ends = [_end(line, panel.span, y) for line in ours]
    places = spread([min(max(end, box.top + 4), box.bottom) for end in ends], 13, box.top + 4, box.bottom)
    for line, label, place in zip(ours, labels, places, strict=True):
        parts.append(_word(label, line, box.right + 7, place + 4, "b"))
    parts += [_published_word(line, panel.span, x, y, box) for line in panel.lines if line.published]
    words = panel.metric.axis
    parts.append(element("text", words, x=box.left + 4, y=box.bottom - 6, class_="t"))
    return parts


def value_range(panel: Panel) -> tuple[float, float]:
    """Return the vertical range of the lines within the sizes shown."""
    low, high = panel.span
    values = [] if panel.reference is None else [panel.reference]
    for line in panel.lines:
        at_ends = [value_at(line, size) for size in panel.span]
        values += [value for value in at_ends if value is not None]
        for x, y, std in zip(line.x, line.y, line.std, strict=True):
            if low <= x <= high:
                values += [y, y - (std or 0) / 2, y + (std or 0) / 2]
    return padded(values or [y for line in panel.lines for y in line.y])


def value_at(line: Line, size: float) -> float | None:
    """Return a line's value at a size; None outside of what was measured."""
    xs, ys = line.x[::-1], line.y[::-1]
    if not xs or not xs[0] <= size <= xs[-1]:
        return None
    return float(np.interp(np.log(size), np.log(xs), ys))


def _end(line: Line, span: tuple[float, float], y: Scale) -> float:
    """Return where a line leaves to the right."""
    value = value_at(line, span[0])
    return y(line.y[-1] if value is None else value)


def _word(text: str, line: Line, x: float, y: float, weight: str, anchor: str | None = None) -> Markup:
    return element("text", text, x=x, y=y, class_=weight, text_anchor=anchor, style=f"{colour(line.colour)};fill:var(--c)")


def _published_word(line: Line, span: tuple[float, float], x: Scale, y: Scale, box: Box) -> Markup:
    """Return the word beside a published curve, where it ends within the sizes shown or leaves them."""
    inside = [(size, value) for size, value in zip(line.x, line.y, strict=True) if size >= span[0]]
    size, value = inside[-1] if inside else (line.x[0], line.y[0])
    at_end = x(size) > box.right - 60
    place = min(max(y(value), box.top + 10), box.bottom - 4)
    return _word(line_label(line), line, x(size) + (-6 if at_end else 5), place, "halo", "end" if at_end else None)


def _line(line: Line, x: Scale, y: Scale, box: Box) -> Markup:
    at = [(x(size), y(value)) for size, value in zip(line.x, line.y, strict=True)]
    parts = []
    if not line.published and any(std is not None for std in line.std):
        sides = [(size, value, std or 0.0) for size, value, std in zip(line.x, line.y, line.std, strict=True)]
        top = [(x(size), y(value + std)) for size, value, std in sides]
        bottom = [(x(size), y(value - std)) for size, value, std in reversed(sides)]
        parts.append(element("path", d=path([*top, *bottom]) + "Z", class_="band"))
    parts.append(element("path", d=path(at), class_="line pub" if line.published else "line"))
    if not line.published:
        parts += [element("circle", cx=px, cy=py, r=2.2, class_="dot") for px, py in at if box.left - 2 <= px <= box.right + 2]
    return element("g", *parts, style=colour(line.colour))


def _lower(band: GapBand, metric: Metric, span: tuple[float, float], x: Scale, box: Box) -> list[Markup]:
    low, high = gap_range(band, span)
    y = _upright(low, high, box.top, box.bottom, metric)
    parts = []
    for value in linear_ticks(low, high, 4):
        if value:
            parts.append(element("line", x1=box.left, x2=box.right, y1=y(value), y2=y(value), class_="grid"))
        label = signed(value)
        parts.append(element("text", label, x=box.left - 6, y=y(value) + 4, text_anchor="end"))
    parts.append(_clipped(box, _band(band, x, y)))
    parts.append(element("line", x1=box.left, x2=box.right, y1=y(0), y2=y(0), class_="zero"))
    unit = "points" if metric.is_percent else metric.unit
    title = f"Gap to real{f', {unit}' if unit else ''}"
    parts.append(element("text", title, x=box.left, y=box.top - 8, class_="t"))
    ahead = f"↑ {band.name.lower() if not band.name.isupper() else band.name} ahead"
    parts.append(element("text", ahead, x=box.right, y=box.top - 8, text_anchor="end", class_="t"))
    return parts


def _band(band: GapBand, x: Scale, y: Scale) -> list[Markup]:
    """Return the interval as a band, its mean as a line, and bars on zero where a difference is shown."""
    at = [(x(size), y(one.mean)) for size, one in zip(band.x, band.gaps, strict=True)]
    known = [(x(size), one) for size, one in zip(band.x, band.gaps, strict=True)]
    upper = [(place, y(one.mean if one.high is None else one.high)) for place, one in known]
    lower = [(place, y(one.mean if one.low is None else one.low)) for place, one in reversed(known)]
    has_interval = any(one.low is not None for one in band.gaps)
    parts = [element("path", d=path([*upper, *lower]) + "Z", class_="band")] if has_interval else []
    parts.append(element("path", d=path(at), class_="line" if has_interval else "line pub"))
    parts_of_band = [element("g", *parts, style=colour(band.colour))]
    for ranges, pair in ((band.better, band.colour), (band.worse, COLOURS["real"])):
        for big, small in ranges:
            ends = sorted((x(big), x(small)))
            wide = max(ends[1] - ends[0], 4.0)
            parts_of_band.append(
                element("rect", x=ends[0], y=y(0) - 2.5, width=wide, height=5, rx=2, style=f"{colour(pair)};fill:var(--c)")
            )
    return parts_of_band


def _clipped(box: Box, parts: list[Markup]) -> Markup:
    """Return parts in an SVG within the SVG, which cuts off what lies outside, and needs no name that pages might share."""
    wide, tall = box.right - box.left + 4, box.bottom - box.top + 4
    left, top = box.left - 2, box.top - 2
    view = f"{left:g} {top:g} {wide:g} {tall:g}"
    return element("svg", *parts, x=left, y=top, width=wide, height=tall, viewBox=view)


def line_label(line: Line) -> str:
    """Return the word beside a line."""
    text = line.label.rpartition(", ")[2] if line.published else line.label
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def _plain(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def signed(value: float) -> str:
    """Return a tick of a difference."""
    return "0" if not value else f"{value:+.6g}".replace("-", "−")
