"""The page on architecture shows the rooms as the contracts have them, and names files and packages that there are."""

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pages import relative_links, table

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
drawing = runpy.run_path(str(ROOT / "docs" / "draw_rooms.py"))


def test_the_drawing_is_that_of_the_contracts() -> None:
    assert (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8") == drawing["draw"](), "run `python docs/draw_rooms.py`"


def test_every_room_has_a_floor_and_says_what_it_holds() -> None:
    rooms = {path.parent.name for path in (ROOT / "src" / "fourfold").glob("*/__init__.py")}
    assert rooms == {room for floor in drawing["layers"]() for room in floor}
    assert [room for room in rooms if not drawing["description"](room).endswith((".", ":"))] == []


def test_every_place_that_is_named_is_there() -> None:
    places = re.findall(r"`(src/fourfold/[\w/.]+)`", PAGE)
    assert len(places) >= 15
    assert [place for place in places if not (ROOT / place).exists()] == []
    files = re.findall(r"`((?:record|execution|lottery|parts|train|cli|timing|report|tasks)/[\w/]*\.py)`", PAGE)
    assert [file for file in files if not (ROOT / "src" / "fourfold" / file).exists()] == []
    assert [link for link in relative_links(PAGE) if not (ROOT / "docs" / link).exists()] == []


@pytest.mark.slow
def test_the_life_of_a_run_names_every_function_on_the_way_to_the_first_step() -> None:
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "call_path.py"], capture_output=True, text=True, check=True)
    steps = [line.partition(":")[0].split()[:2] for line in done.stderr.splitlines()]
    assert done.stdout.endswith(f"\n{len(steps)} functions in {len({place for _, place in steps})} files\n")
    assert len(steps) <= 12
    life = PAGE.partition("## The life of a run")[2].partition("\n## ")[0]
    assert [name for name, _ in steps if not re.search(rf"`(\w+\.)?{name}`", life)] == []
    assert [place for _, place in steps if f"`{place}`" not in life] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split("[><=!~;]", requirement)[0] for requirement in project["dependencies"]}
    first, _, others = PAGE.partition("Extras bring")
    assert {row[0] for row in table(first, "why it, and not another")[1:]} == required
    extras = project["optional-dependencies"].values()
    optional = {re.split(r"[\[><=!~;]", requirement)[0] for requirements in extras for requirement in requirements}
    named = {name.strip() for line in re.findall(r"^\| ([\w, -]+) \| [`t]", others, re.M) for name in line.split(",")}
    assert optional - {"fourfold"} == named
