"""Every tutorial runs from its first block to its last, as a reader would type it, and prints what it says."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

from fake_files import write_mnist
from fourfold.cli import main
from pages import printed, relative_links

TUTORIALS = sorted((Path(__file__).parent.parent / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"```(python|sh|c|)\n(.*?)```", re.S)
FILE = re.compile(r"(?:# |/\* )([\w-]+\.(?:py|c))")
"""The first line of a block that is a file to save."""


@pytest.fixture
def desk(tmp_path, monkeypatch, quick_plan):
    """An empty folder, MNIST in the form of its official files, and forecasts that time nothing."""
    write_mnist(tmp_path / "data" / "MNIST" / "raw")
    monkeypatch.setenv("FOURFOLD_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plt.close("all")


def type_in(line: str, folder: Path) -> None:
    """Run a command of fourfold in this process, and any other by the shell."""
    words = shlex.split(line, comments=True)
    if words[0] != "fourfold":
        subprocess.run(line, shell=True, check=True, cwd=folder, timeout=120)
        return
    words = [str(next(folder.glob(word))) if "*" in word else word for word in words[1:]]
    trains = words[0] == "run" or (words[0] == "reproduce" and "--scale" in words)
    if words[:2] != ["bench", "deploy"]:  # seconds of timing, which has tests of its own
        main([*words, *(["--workers", "0"] if trains else [])])


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_and_prints_what_it_says(tutorial, desk, capsys):
    page = tutorial.read_text(encoding="utf-8")
    if "\ncc " in page and shutil.which("cc") is None:
        pytest.skip("this tutorial needs a C compiler (cc)")
    if "to_onnx(" in page:
        pytest.importorskip("onnx", reason="this tutorial needs ONNX: pip install 'fourfold[onnx]'")
    names: dict[str, object] = {"__name__": "tutorial"}
    output = ""
    for language, block in BLOCK.findall(page):
        if file := FILE.match(block):
            (desk / file[1]).write_text(block, encoding="utf-8")
        elif language == "sh":
            for line in block.splitlines():
                type_in(line, desk)
            capsys.readouterr()
        elif language == "python":
            with torch.random.fork_rng():
                exec(compile(block, tutorial.name, "exec"), names)
            output = capsys.readouterr().out
            if said := printed(block):
                assert output.splitlines() == said
        else:
            assert block == output  # a block without a language is what the one above it prints


def test_there_are_four():
    assert len(TUTORIALS) == 4


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_links_lead_somewhere(tutorial):
    assert [
        link for link in relative_links(tutorial.read_text(encoding="utf-8")) if not (tutorial.parent / link).exists()
    ] == []
