"""Elements of inline SVG as text: numbers short, words escaped."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

Value = str | float | None


def element(name: str, *inside: Markup | str, **attributes: Value) -> Markup:
    """Return an element; `class_` is its class, an underscore in a name a hyphen, and None leaves an attribute out."""
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            text = number(value) if isinstance(value, int | float) else escape(value)
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{text}"')
    head = " ".join(parts)
    return Markup(f"<{head}>{''.join(map(str, map(escape, inside)))}</{name}>") if inside else Markup(f"<{head}/>")


def number(value: float) -> str:
    """Return a coordinate to a tenth."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def path(points: Iterable[tuple[float, float]]) -> str:
    """Return the data of a path through some points."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def colour(pair: tuple[str, str]) -> str:
    """Return the style that makes a colour on a light and on a dark ground the current one of a group."""
    return f"--c:light-dark({pair[0]},{pair[1]})"


def spread(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Return places moved so that neighbours are at least so far apart and all lie within bounds, in the order they came."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = [places[index] for index in order]
    for _ in range(2):
        for index in range(1, len(moved)):
            moved[index] = max(moved[index], moved[index - 1] + least)
        if moved and moved[-1] > high:
            moved[-1] = high
            for index in range(len(moved) - 2, -1, -1):
                moved[index] = min(moved[index], moved[index + 1] - least)
        if moved:
            moved[0] = max(moved[0], low)
    result = [0.0] * len(places)
    for place, index in zip(moved, order, strict=True):
        result[index] = place
    return result
