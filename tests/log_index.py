"""The index of LOG.md: what was asked, by tag and day. `python tests/log_index.py` writes it anew."""

import re
import textwrap
from pathlib import Path

LOG = Path(__file__).parent.parent / "LOG.md"

TAGS = ("layers", "train", "lottery", "tasks", "data", "deploy", "scale", "report", "cli", "docs", "tests")
"""What an entry may be about, in the order of the index."""

START, END = "<!-- index: python tests/log_index.py -->\n", "<!-- end of the index -->\n"

ENTRY = re.compile(r"^- `(\w+)` \*\*(.+?)\*\*", re.MULTILINE | re.DOTALL)

WIDTH = 150


def entries(text: str) -> list[tuple[str, str, str]]:
    """Return day, tag and question of each entry, in the order of the log."""
    parts = re.split(r"^## (\d{4}-\d\d-\d\d)\n", text, flags=re.MULTILINE)
    days = zip(parts[1::2], parts[2::2], strict=True)
    return [(day, match[1], " ".join(match[2].split())) for day, part in days for match in ENTRY.finditer(part)]


def index(text: str) -> str:
    """Return the index of a log: a paragraph a tag and day."""
    known = entries(text)
    lines = []
    for tag in TAGS:
        days = dict.fromkeys(day for day, other, _ in known if other == tag)
        if days:
            lines += [f"**`{tag}`**", ""]
        for day in days:
            questions = " · ".join(question for other, of, question in known if (other, of) == (day, tag))
            lines += textwrap.wrap(
                f"- {day}: {questions}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
        lines += [""] if days else []
    return START + "\n".join(lines) + END


def with_index(text: str) -> str:
    """Return a log with its index written anew."""
    before, rest = text.split(START)
    return before + index(text) + rest.split(END)[1]


if __name__ == "__main__":
    LOG.write_text(with_index(LOG.read_text(encoding="utf-8")), encoding="utf-8")
