"""Draw the rooms of the package from the import contracts: `python docs/draw_rooms.py` writes `docs/rooms.svg`."""

import ast
import html
import textwrap
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
WIDTH, MARGIN, GAP, LINE = 960, 16, 10, 15
LETTER = 6.2
"""Width of a letter of the description, in pixels; wide enough for any usual sans-serif font."""

STYLE = """
  svg { font: 12px system-ui, sans-serif; background: #fff; }
  rect { fill: #f3f5f8; stroke: #b9c2cd; }
  text { fill: #1f2733; } .name { font-weight: 600; font-size: 14px; } .small { fill: #5b6675; }
  @media (prefers-color-scheme: dark) {
    svg { background: #14181f; } rect { fill: #1e242e; stroke: #414b59; } text { fill: #e6eaf0; } .small { fill: #a3adba; }
  }
"""


def layers() -> list[list[str]]:
    """Return the rooms of every floor, the highest floor first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return [floor.split(" | ") for floor in contracts[0]["layers"]]


def description(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    source = (ROOT / "src" / "fourfold" / room / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def draw() -> str:
    """Return the drawing."""
    parts, top = [], MARGIN + LINE + GAP
    for floor in layers():
        width = (WIDTH - 2 * MARGIN - GAP * (len(floor) - 1)) / len(floor)
        texts = [textwrap.wrap(description(room), int((width - 20) / LETTER)) for room in floor]
        height = 34 + LINE * max(map(len, texts))
        for index, (room, lines) in enumerate(zip(floor, texts, strict=True)):
            left = MARGIN + index * (width + GAP)
            parts.append(f'<rect x="{left:g}" y="{top}" width="{width:g}" height="{height}" rx="6"/>')
            parts.append(f'<text class="name" x="{left + 10:g}" y="{top + 20}">{room}/</text>')
            for number, line in enumerate(lines):
                y = top + 38 + number * LINE
                parts.append(f'<text class="small" x="{left + 10:g}" y="{y}">{html.escape(line)}</text>')
        top += height + GAP
    caption = "A room imports only from rooms below it; rooms side by side do not import each other."
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 6}" role="img" aria-label="Rooms of fourfold">'
    title = f'<text class="small" x="{MARGIN}" y="{MARGIN + 8}">{caption}</text>'
    return "\n".join([head, f"<style>{STYLE}</style>", title, *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "rooms.svg").write_text(draw(), encoding="utf-8")
