"""The documentation site: every page has a place in it, it builds without a warning, and its reference and links are whole."""

import html
import importlib.util
import re
import subprocess
import sys
import zlib
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest

from pages import relative_links

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(path for path in DOCS.glob("**/*.md") if not {"_site", "gallery"} & set(path.relative_to(DOCS).parts))
PUBLIC = ("nn", "algebra", "pruning", "models", "data", "tasks", "train", "lottery", "presets", "record", "report", "deploy")
TOOLS = ("sphinx", "furo", "myst_parser", "sphinx_gallery", "sphinx_copybutton")


def test_every_page_has_a_place() -> None:
    trees = re.findall(r"```{toctree}\n(.*?)```", (DOCS / "index.md").read_text(encoding="utf-8"), re.S)
    lines = [line for tree in trees for line in tree.splitlines() if line and line[0] != ":"]
    places = [re.sub(r".*<(.*)>", r"\1", line) for line in lines]
    assert len(places) == len(set(places))
    written = {place for place in places if not place.startswith(("api/", "gallery/"))}
    assert written == {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES} - {"index"}
    assert {place for place in places if place.startswith("api/")} >= {f"api/fourfold.{room}" for room in PUBLIC}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    written = [link for link in relative_links(page.read_text(encoding="utf-8")) if not link.startswith(("api/", "gallery/"))]
    assert [link for link in written if not (page.parent / link).exists()] == []


def documented(site: Path) -> set[str]:
    """Return the names that the site documents, from Sphinx's inventory."""
    content = (site / "objects.inv").read_bytes()
    start = content.index(b"zlib.\n") + len(b"zlib.\n")
    return {line.split()[0] for line in zlib.decompress(content[start:]).decode().splitlines()}


def absent_names(site: Path) -> list[str]:
    """Return the public names that have neither an entry nor a line that says which other package has it."""
    known, absent = documented(site), []
    for room in PUBLIC:
        text = re.sub(r"<[^>]+>", "", (site / "api" / f"fourfold.{room}.html").read_text(encoding="utf-8"))
        for name in import_module(f"fourfold.{room}").__all__:
            if f"fourfold.{room}.{name}" not in known and not re.search(rf"\b{name}\b", text):
                absent.append(f"fourfold.{room}.{name}")
    return absent


def broken_links(site: Path) -> list[str]:
    """Return the links from a page of the site to a page or an anchor that is not there."""
    pages = {path: path.read_text(encoding="utf-8") for path in site.glob("**/*.html")}
    anchors = {path.resolve(): set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    broken = []
    for path, text in pages.items():
        for link in set(re.findall(r'(?:href|src)="([^"]+)"', text)):
            target, _, anchor = html.unescape(unquote(link)).partition("#")
            if re.match(r"[a-z]+:|//", target):
                continue
            file = (path.parent / target.partition("?")[0]).resolve() if target else path.resolve()
            if not file.exists() or (anchor and file in anchors and anchor not in anchors[file]):
                broken.append(f"{path.relative_to(site)}: {link}")
    return broken


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_is_whole(tmp_path: Path) -> None:
    if missing := [name for name in TOOLS if importlib.util.find_spec(name) is None]:
        pytest.skip(f"the site needs {', '.join(missing)}: pip install 'fourfold[docs]'")
    site, options = tmp_path / "site", ["-W", "--keep-going", "-q", "-E", "-d", str(tmp_path / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(site)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    assert absent_names(site) == []
    assert len(documented(site)) > 500
    assert broken_links(site) == []
    assert len(list((site / "_images").glob("sphx_glr_plot_*_001.png"))) == 10
