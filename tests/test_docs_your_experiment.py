"""The tutorial on one's own experiment: its file, its commands and its Python run; its tables name what there is."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from torch import nn

import fourfold
from fourfold.cli import main
from fourfold.record import TrainSpec, find_runs
from fourfold.tasks import TASKS
from pages import blocks, printed, relative_links, table

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "your-experiment.md").read_text(encoding="utf-8")
FILE, PHM, TASK, PYTHON = blocks(PAGE, "python")
QUICK = ["--epochs", "1", "--workers", "0"]


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path, monkeypatch, capsys, quick_plan):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "roads.py").write_text(FILE + PHM.partition("\n\nnetwork = ")[0] + TASK)
    commands = [line for block in blocks(PAGE, "sh") for line in block.splitlines() if line.startswith("fourfold")]
    assert len(commands) == 7
    for line in commands:
        words = shlex.split(line, comments=True)[1:]
        main([*words, *(QUICK if words[0] == "run" else [])])
    names = {store.spec().preset for store in find_runs(tmp_path / "runs")}
    assert names == {"roads", "roads-errors", "classify-roads-data-lenet-300-100"}
    learned = "run roads.py --model roads.py:phm --algebra real quaternion phm"
    assert f"`fourfold {learned}`" in PAGE
    main([*learned.split(), "--trials", "1", "--max-level", "0", *QUICK])
    capsys.readouterr()
    exec(compile(PHM, "docs/your-experiment.md", "exec"), {"nn": nn, "ff": fourfold})
    assert capsys.readouterr().out.splitlines() == printed(PHM)
    exec(compile(PYTHON, "docs/your-experiment.md", "exec"), {"__name__": "docs"})
    assert capsys.readouterr().out.splitlines() == printed(PYTHON)
    assert (tmp_path / "ticket.pt2").exists()


def test_tables_name_what_there_is():
    assert {re.sub("`", "", row[0]) for row in table(PAGE, "outputs, targets")[1:]} == set(TASKS)
    settings = {name for row in table(PAGE, "values")[1:] for name in re.findall(r"`train\.(\w+)`", row[0])}
    assert settings <= set(TrainSpec.__dataclass_fields__)


@pytest.mark.parametrize("link", relative_links(PAGE))
def test_links_lead_somewhere(link):
    assert (DOCS / link).exists()
