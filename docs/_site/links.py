"""Links between the pages, which also have to work on GitHub: what lies outside of `docs/` leads to the repository."""

import posixpath
import re
from pathlib import Path
from typing import Any

REPOSITORY = "https://github.com/fourfold-team/fourfold"
ROOT = Path(__file__).parent.parent.parent
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
"""A Markdown link to a file; not an image, and not an address."""


def led_out(text: str, folder: str) -> str:
    """Return a page with its links out of `docs/` led to the repository.

    Args:
        text: the page, in Markdown.
        folder: the folder that its links start from, relative to the root of the repository.
    """

    def replace(match: re.Match[str]) -> str:
        label, target, anchor = match[1], posixpath.normpath(posixpath.join(folder, match[2])), match[3] or ""
        if target.startswith("docs/"):
            return match[0] if folder.startswith("docs") else f"[{label}](/{target.removeprefix('docs/')}{anchor})"
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"[{label}]({REPOSITORY}/{kind}/main/{target}{anchor})"

    return LINK.sub(replace, text)


def rewrite(app: Any, name: str, content: list[str]) -> None:
    """Sphinx's event `source-read`: one page of `docs/`."""
    if (ROOT / "docs" / f"{name}.md").exists():
        content[0] = led_out(content[0], posixpath.dirname(f"docs/{name}"))


def rewrite_included(app: Any, path: Path, parent: str, content: list[str]) -> None:
    """Sphinx's event `include-read`: a page of the repository that a page of `docs/` includes."""
    included = (Path(app.srcdir) / path).resolve()
    if included.suffix == ".md":
        content[0] = led_out(content[0], included.parent.relative_to(ROOT).as_posix())
