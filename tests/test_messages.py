"""The messages of errors that users see, in one table (tests/messages.txt): changing a sentence changes one line of it.

`python tests/test_messages.py` writes the table again. Tests of single errors name the class and the field, not the sentence.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "fourfold"
TABLE = Path(__file__).with_name("messages.txt")

LATER = {"deploy", "report"}
"""Rooms whose messages are not in the table yet."""

ERRORS = {"UserError", "UserCodeError", "UnusableCheckpointError"}

FORMS = {
    "must": r"(`|…|\)) must |^(the|all|several|one|two) .* must ",
    "combined": r"cannot be combined with ",
    "expected": r"^\S.*: expected .*(, found |, …$)",
    "unknown": r"^unknown ",
    "cannot": r"^cannot \w+ .*\(…\)|^….* cannot be \w+ .*\(…\)",
    "absent": r"^….* is not in .*\(.* is missing\)|^\w+ is not in |^there (is|are) no(thing)? ",
}
"""The forms of the glossary; an unknown name that lists those that are known; and what the system refused, with its reason."""

MOST_OTHERS = 121
"""Messages of no form: no more may come."""


def template(node: ast.expr) -> str | None:
    """Return a string with `…` for what is put into it; None if it is not written where it is raised."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(value.value if isinstance(value, ast.Constant) else "…" for value in values)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            parts = template(left), template(right)
            return None if None in parts else "".join(map(str, parts))
    return None


def messages() -> dict[str, list[str]]:
    """Return the messages of each module, as the source has them."""
    result: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        where = path.relative_to(SOURCE)
        if where.parts[0] in LATER:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args:
                text = template(node.args[0])
                if text is not None:
                    result.setdefault(str(where), []).append(text)
    return result


def form(text: str) -> str:
    """Return the form that a message has, or `other`."""
    return next((name for name, pattern in FORMS.items() if re.search(pattern, text)), "other")


def table() -> str:
    """Return the table: the messages of every module, each with its form."""
    lines = []
    for where, texts in messages().items():
        lines += [f"{where}\t{form(text)}\t{text}" for text in sorted(texts)]
    return "\n".join(lines) + "\n"


def test_the_table_is_that_of_the_source() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(), "run `python tests/test_messages.py`, and look at what has changed"


def test_messages_are_sentences_of_one_line_without_a_full_stop() -> None:
    texts = [text for texts in messages().values() for text in texts]
    assert len(texts) > 300
    assert [text for text in texts if "\n" in text or text.endswith((".", " ")) or text != text.strip()] == []


def test_no_more_messages_are_of_no_form() -> None:
    others = [text for texts in messages().values() for text in texts if form(text) == "other"]
    assert len(others) <= MOST_OTHERS, "\n".join(others)


def test_forms_are_told_apart() -> None:
    assert form("`trials` (=…) must be at least 1") == "must"
    assert form("`a` (=…) cannot be combined with `b` (=…): why") == "combined"
    assert form("…: expected the bytes of its SHA-256, found others") == "expected"
    assert form("cannot write to … (…); choose another --out") == "cannot"
    assert form("something went wrong") == "other"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
