"""The tools that keep the code in order: arrows between rooms, lint, format and types."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that is installed beside this Python."""
    program = Path(sys.executable).parent / command[0]
    return subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("lint-imports", "--no-cache"), id="rooms import only to the left"),
        pytest.param(("ruff", "check", "."), id="lint"),
        pytest.param(("ruff", "format", "--check", "."), id="format"),
        pytest.param(("mypy",), id="types"),
    ],
)
def test_tool_finds_nothing(command: tuple[str, ...]) -> None:
    result = run(*command)
    assert result.returncode == 0, result.stdout + result.stderr


HELPERS = ("peers", "layer_pairs")
"""Modules that other benchmarks import."""


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_can_be_started(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(script.parent)
    assert callable(runpy.run_path(str(script), run_name="not started").get("main")) or script.stem in HELPERS


def test_the_arrows_are_really_checked(tmp_path: Path) -> None:
    copy = tmp_path / "fourfold"
    shutil.copytree(ROOT / "src" / "fourfold", copy)
    (copy / "record" / "wrong.py").write_text("import fourfold.train\n")
    config = ROOT / "pyproject.toml"
    result = run("lint-imports", "--no-cache", "--config", str(config), folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert "fourfold.record.wrong -> fourfold.train" in result.stdout
