"""Words, and tables of the report, on a terminal."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from fourfold.report import Table as Found


def count(number: int, noun: str) -> str:
    """Return such as `1 trial` or `5 trials`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_table(console: Console, found: "Found") -> None:
    """Print a table with its title; numbers to the right."""
    console.print(f"\n[bold]{found.title}[/bold]", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(found.columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in found.rows:
        table.add_row(*row)
    console.print(table)
