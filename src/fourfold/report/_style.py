"""How curves look, the same in figures and on the page: colour says the algebra or the control, marker and dash again."""

from dataclasses import dataclass

from fourfold.record import TICKET
from fourfold.report._curves import Curve

COLOURS = {
    "real": ("#0067a5", "#5cb3f0"),
    "quaternion": ("#c8500a", "#ff9a4d"),
    "complex": ("#00795a", "#3fc79f"),
    "octonion": ("#a2457d", "#e58fc4"),
    "phm": ("#4a50c8", "#a3a9ff"),
}
"""Per algebra on a light and on a dark ground; after Okabe and Ito's colours, which the colour-blind can tell apart."""

OTHER = ("#555b66", "#b4bac4")
"""For an algebra that has no colour of its own."""

MARKERS = {
    "real": ("circle", "triangle", "plus", "diamond", "cross", "square"),
    "quaternion": ("square", "diamond", "cross", "triangle", "plus", "circle"),
    "complex": ("triangle", "circle", "cross", "square", "diamond", "plus"),
    "octonion": ("diamond", "square", "plus", "cross", "circle", "triangle"),
    "phm": ("plus", "triangle", "diamond", "circle", "square", "cross"),
}
"""Per algebra, for its first, second, … curve."""

CONTROL_LOOKS = {
    "random-init": ("#7b3fa0", "#c79be8", "triangle"),
    "shuffled-layer": ("#00795a", "#3fc79f", "circle"),
    "shuffled-global": ("#8a4b20", "#d39a6a", "plus"),
    "random-layer": ("#7a6400", "#d9c04a", "square"),
    "erk-random": ("#b3306a", "#f08cb8", "diamond"),
    "inverted": ("#555b66", "#b4bac4", "cross"),
    "small-dense": ("#1d2025", "#eceef2", "diamond"),
    "equal-macs": ("#1a86c9", "#8ccdf7", "square"),
}
"""Colours on a light and on a dark ground, and the marker, of each control; they are drawn beside one network's tickets."""

CONTROL_DASHES = {"real": (2, 3), "quaternion": (6, 2, 1, 2)}
"""By algebra, of its controls."""

OTHER_DASH = (9, 2, 2, 2)
"""Of controls in an algebra that has no dash of its own."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """The look of one curve."""

    light: str
    """Colour on a light ground."""
    dark: str
    """Colour on a dark ground."""
    marker: str
    """circle, square, triangle, diamond, plus or cross."""
    dash: tuple[int, ...]
    """Lengths of strokes and gaps; empty for a solid line."""


def style(curve: Curve) -> Style:
    """Return the look of a curve: solid for a first ticket, dashed for a second one, short dashes and dots for controls."""
    light, dark = COLOURS.get(curve.algebra, OTHER)
    markers = MARKERS.get(curve.algebra, ("plus", "cross"))
    marker = markers[curve.variant % len(markers)]
    dash: tuple[int, ...] = () if curve.variant == 0 else (6, 3)
    if curve.control != TICKET:
        light, dark, marker = CONTROL_LOOKS.get(curve.control, (*OTHER, marker))
        dash = CONTROL_DASHES.get(curve.algebra, OTHER_DASH)
    return Style(light=light, dark=dark, marker=marker, dash=dash)
