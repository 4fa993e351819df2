"""What the tests of the README and of the docs share: their blocks of code, their links, their tables."""

import re

from torch import nn


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


def relative_links(page: str) -> list[str]:
    """Return the targets of links that stay within the repository."""
    return [link.partition("#")[0] for link in re.findall(r"\]\(([^)#][^)]*)\)", page) if "://" not in link]


def printed(block: str) -> list[str]:
    """Return what a block of Python says that it prints: the comments after its calls of `print`."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", block, re.M)


def table(page: str, column: str) -> list[list[str]]:
    """Return the cells of the table whose second column is the given one, row by row, without the rule below the head."""
    tables = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", page, re.M)]
    rows = [[[cell.strip() for cell in line.strip("|\n").split("|")] for line in lines] for lines in tables]
    (found,) = (cells for cells in rows if cells[0][1] == column)
    return [found[0], *found[2:]]


def is_our_layer(value: object) -> bool:
    """Whether something that `fourfold.nn` exports is a layer of ours, not one of torch's under the same name."""
    return isinstance(value, type) and issubclass(value, nn.Module) and value.__module__.startswith("fourfold")
