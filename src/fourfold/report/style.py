"""How curves look, the same in figures and on the page: colour says the algebra, marker and dash say it again."""

from dataclasses import dataclass

from fourfold.record import TICKET
from fourfold.report.curves import Curve

COLOURS = {
    "real": ("#0067a5", "#5cb3f0"),
    "quaternion": ("#c8500a", "#ff9a4d"),
    "complex": ("#00795a", "#3fc79f"),
    "octonion": ("#a2457d", "#e58fc4"),
}
"""Per algebra on a light and on a dark ground; after Okabe and Ito's colours, which the colour-blind can tell apart."""

OTHER = ("#555b66", "#b4bac4")
"""For an algebra that has no colour of its own."""

MARKERS = {
    "real": ("circle", "triangle", "plus"),
    "quaternion": ("square", "diamond", "cross"),
    "complex": ("triangle", "circle", "cross"),
    "octonion": ("diamond", "square", "plus"),
}
"""Per algebra, for its first, second, … curve."""


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
    """Return the look of a curve: solid for a first ticket, dashed for a second one and for controls."""
    light, dark = COLOURS.get(curve.algebra, OTHER)
    markers = MARKERS.get(curve.algebra, ("plus", "cross"))
    dash = () if curve.variant == 0 else (6, 3) if curve.control == TICKET else (2, 3) if curve.variant == 1 else (5, 2, 1, 2)
    return Style(light=light, dark=dark, marker=markers[curve.variant % len(markers)], dash=dash)
