"""How curves look, the same in figures and on the page: colour says the algebra, marker and dash say it again."""

from dataclasses import dataclass

from fourfold.record import TICKET
from fourfold.report.curves import Curve

COLOURS = {
    "real": ("#0067a5", "#5cb3f0"),
    "quaternion": ("#c8500a", "#ff9a4d"),
    "complex": ("#00795a", "#3fc79f"),
    "octonion": ("#a2457d", "#e58fc4"),
    "phm": ("#7a6400", "#d9c04a"),
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

CONTROL_DASHES = ((2, 3), (5, 2, 1, 2), (9, 2, 2, 2))
"""For an algebra's controls in turn: with the markers, six of them look different."""


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
    dash: tuple[int, ...] = () if curve.variant == 0 else (6, 3)
    if curve.control != TICKET:
        dash = CONTROL_DASHES[curve.variant % len(CONTROL_DASHES)]
    return Style(light=light, dark=dark, marker=markers[curve.variant % len(markers)], dash=dash)
