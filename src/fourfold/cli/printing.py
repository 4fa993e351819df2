"""Lines and tables on a terminal: names, paths and what files say are text in them, never markup or escape codes."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fourfold.cli.streams import clear_passing
from fourfold.record.text import plain

if TYPE_CHECKING:
    from fourfold.report import Table as Found

WIDTH = 200
"""Columns of tables that are wider than most terminals, which wrap them."""


class _Plain(Console):
    """A console to which every string is plain text."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a string as text: no markup, no emoji, no highlighting, control characters written out."""
        return super().render_str(plain(text), **{**settings, "markup": False, "emoji": False, "highlight": False})


def make_console(width: int | None = None, *, soft_wrap: bool = True) -> Console:
    """Return a console on standard output that prints strings as they are."""
    clear_passing()
    return _Plain(width=width, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)


def titled(title: str, rest: str = "") -> Text:
    """Return a line that begins with a bold title."""
    return Text.assemble((plain(title), "bold"), plain(rest))


def count(number: int, noun: str) -> str:
    """Return such as `1 trial` or `5 trials`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_table(console: Console, content: "Found") -> None:
    """Print a table with its title; numbers to the right."""
    console.print()
    console.print(titled(content.title))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(content.columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in content.rows:
        table.add_row(*row)
    console.print(table)
