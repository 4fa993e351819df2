"""The text and the names of the package keep to the glossary (docs/glossary.md).

`python tests/test_vocabulary.py` counts what does not, room by room.
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "fourfold"

LATER: set[str] = set()
"""Rooms whose text is not checked yet."""
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py") if path.parent.name not in LATER)

LATER_PAGES = {"artifact.md", "c.md", "deploy.md", "glossary.md"}
"""Pages of those rooms, and the one that lists what is not said."""
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
PAGES = [page for page in PAGES if Path(page).name not in LATER_PAGES]

PHRASES = {
    r"\b[Ww]hole numbers?\b": "integer, or element of an algebra",
    r"\b(input|output|every|each) numbers?\b(?! of)": "element",
    r"(?<!so )\b(go|goes|went|going) on\b(?! to)": "resume, or continue",
    r"\bended from outside\b": "killed",
    r"\bputs? back\b": "in place, or restore",
    r"\b(is|are|of) no numbers?\b": "NaN, or not a number",
    r"\bfor ever\b": "never ends",
    r"\b([Nn]obody|[Ww]hoever)\b": "what it stands for",
    r"\bmakes? of its\b": "cached",
    r"\b(is|are|was|were) (told|said)\b": "reported, raised, or an error",
    r"\b[A-Z]{3,}_AN?_[A-Z]+\b": "PER",
}
"""What is not written, and what is."""

PARTICIPLES = {
    "asked", "begun", "drawn", "found", "given", "heard", "made", "noted", "picked", "said", "seen", "shown", "taken",
    "told", "turned", "wanted",
}  # fmt: skip
"""Names that do not say what they hold."""

ON_DISK = {"train/checkpoint.py: taken"}
"""A field of files that earlier versions have written."""
EXPECTED_AND_FOUND = {"record/journal.py: found"}
"""The parameter of a message of the form `expected X, found Y`."""
ALLOWED = ON_DISK | EXPECTED_AND_FOUND | {"record/errors.py: shown"}


def text_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the strings and comments of a module, by line."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], token.string
        elif token.type == tokenize.NAME:
            yield token.start[0], token.string if token.string.isupper() else ""


def phrases_of(lines: Iterator[tuple[int, str]], where: str) -> list[str]:
    """Return each phrase that is not written, with its place and what is written instead."""
    return [
        f"{where}:{line}: {match[0]!r}: write {better}"
        for line, text in lines
        for phrase, better in PHRASES.items()
        for match in re.finditer(phrase, text)
    ]


def names_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the names that a module gives to values, parameters, attributes and functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name


def faults(room: str) -> list[str]:
    """Return what a room says or names otherwise."""
    result = []
    for path in sorted((SOURCE / room).rglob("*.py")):
        where = str(path.relative_to(SOURCE))
        result += phrases_of(text_of(path), where)
        result += [
            f"{where}:{line}: {name!r}: name what it holds"
            for line, name in names_of(path)
            if name.strip("_") in PARTICIPLES and f"{where}: {name}" not in ALLOWED
        ]
    return result


def page_faults(page: str) -> list[str]:
    """Return what a page says otherwise."""
    return phrases_of(iter(enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), start=1)), page)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_keeps_to_the_glossary(room: str) -> None:
    assert faults(room) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_keeps_to_the_glossary(page: str) -> None:
    assert page_faults(page) == []


def test_every_phrase_is_recognised() -> None:
    wrong = [
        "whole numbers", "every number of", "it goes on", "was ended from outside", "puts back", "is no number", "for ever",
        "nobody", "what it makes of its weight", "is told", "BYTES_A_PARAMETER",
    ]  # fmt: skip
    assert [len(phrases_of(iter([(1, text)]), "here")) for text in wrong] == [1, 0, *[1] * (len(wrong) - 2)]
    assert phrases_of(iter([(1, "and so on; it goes on to the next; all numbers")]), "here") == []


def shadows(rooms: list[str]) -> list[str]:
    """Return the public modules in which a function or class has the module's name."""
    result = []
    for path in sorted(path for room in rooms for path in (SOURCE / room).rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == path.stem:
                result.append(f"{path.relative_to(SOURCE)}: {node.name}")
    return result


def test_no_function_has_the_name_of_its_module() -> None:
    """`from fourfold.nn import convert` would give one or the other: such modules are private."""
    assert shadows([*ROOMS, *sorted(LATER)]) == []


if __name__ == "__main__":
    counts = Counter(
        {room: len(faults(room)) for room in [*ROOMS, *sorted(LATER)]} | {page: len(page_faults(page)) for page in PAGES}
    )
    for name, count in counts.most_common():
        print(f"{count:5d} {name}")
    print(f"{sum(counts.values()):5d} in all, and {len(shadows([*ROOMS, *sorted(LATER)]))} functions named as their module")
    sys.exit(bool(sum(counts.values())))
