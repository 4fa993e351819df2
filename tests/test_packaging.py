"""The package as others get it: extras, addresses, the README on PyPI, and a wheel that runs the main job."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import fourfold
from pages import relative_links

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
REPOSITORY = "https://github.com/fourfold-team/fourfold"


def name_of(requirement: str) -> str:
    return re.split(r"[\[><=!~;\s]", requirement)[0]


def test_every_extra_that_is_spoken_of_is_there() -> None:
    files = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("**/*.md"),
        *(ROOT / "src").glob("**/*.py"),
        *(ROOT / "docker").iterdir(),
    ]
    named = {
        extra
        for file in files
        for found in re.findall(r"(?:fourfold|/source)\[([\w,]+)\]", file.read_text(encoding="utf-8"))
        for extra in found.split(",")
    }
    assert named >= {"onnx", "bench", "sweep", "ray", "tensorboard", "docs"}
    assert named <= set(EXTRAS)


def test_old_names_of_extras_still_work() -> None:
    assert EXTRAS["deploy"] == ["fourfold[onnx,bench]"]
    assert EXTRAS["scale"] == ["fourfold[ray]"]


def test_there_is_one_progress_library() -> None:
    required = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    assert "rich" in required
    assert "tqdm" not in required
    assert [file for file in (ROOT / "src").glob("**/*.py") if "tqdm" in file.read_text(encoding="utf-8")] == []


def test_the_tools_of_the_documentation_are_pinned() -> None:
    pinned = {name_of(line) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"}
    assert {name_of(requirement) for requirement in EXTRAS["docs"]} <= pinned
    assert "'.[docs]'" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_readme_on_pypi_has_no_relative_link() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(relative_links(text)) > 10
    for substitution in SETTINGS["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    assert relative_links(text) == []
    assert "](https://raw.githubusercontent.com/fourfold-team/fourfold/main/results/" in text
    assert f"]({REPOSITORY}/blob/main/docs/start.md)" in text


def test_addresses_are_of_one_repository() -> None:
    assert {"Documentation", "Source", "Issues", "Changelog"} <= set(PROJECT["urls"])
    assert PROJECT["urls"]["Source"] == REPOSITORY
    files = [*ROOT.glob("*.md"), *ROOT.glob("*.cff"), *(ROOT / "docs").glob("**/*.md"), *(ROOT / "notebooks").iterdir()]
    owners = {
        owner for file in files for owner in re.findall(r"github\.com/([\w-]+)/fourfold\b", file.read_text(encoding="utf-8"))
    }
    assert owners == {"fourfold-team"}


def test_the_citation_is_of_this_version_and_names_both_papers() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {fourfold.__version__}\n" in citation
    assert citation.count("type: conference-paper") == 2
    assert "10.1145/3570991.3570997" in citation
    assert "mukhopadhyay24a" in citation
    assert f"\n## {fourfold.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_workflows_run_what_this_page_promises() -> None:
    ci, release = ((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8") for name in ("ci.yml", "release.yml"))
    for command in (
        ".ci/run",
        "lint-imports",
        'pytest -q -n auto -m "not slow"',
        "sphinx-build -W",
        "python -m build",
        "docker build",
    ):
        assert command in ci, command
    assert 'python: ["3.11", "3.12", "3.13"]' in ci
    assert "pypa/gh-action-pypi-publish" in release
    assert "id-token: write" in release
    assert "secrets." not in release


@pytest.mark.slow
def test_a_wheel_runs_the_main_job(tmp_path: Path) -> None:
    """Build the wheel, unpack it where no source is, and run the digits with it; dependencies are those that are installed."""
    if any(importlib.util.find_spec(name) is None for name in ("hatchling", "hatch_fancy_pypi_readme")):
        isolation = []  # pip fetches them
    else:
        isolation = ["--no-build-isolation"]
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *isolation, "-w", str(tmp_path), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if built.returncode and isolation == []:
        pytest.skip(
            f"the wheel's tools (hatchling) can neither be imported nor fetched: {built.stderr.strip().splitlines()[-1]}"
        )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert python("-c", "import fourfold; print(fourfold.__file__)").startswith(str(tmp_path / "installed"))
    output = python("-m", "fourfold", "run", "digits", "--trials", "1", "--epochs", "1", "--max-level", "1")
    page = Path(output.splitlines()[-1].split()[-1])
    assert (tmp_path / page).exists()
