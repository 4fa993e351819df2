"""The examples of the page on one's own data run and print what they say, and its tables name everything that there is."""

import re
from pathlib import Path
from typing import get_args

import pytest
import torch

from fourfold.data.components import Named
from fourfold.data.own.values import TargetKind
from pages import blocks, printed, table

PAGE = (Path(__file__).parent.parent / "docs" / "your-data.md").read_text(encoding="utf-8")


def test_examples_run_and_print_what_they_say(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = "".join(blocks(PAGE, "python"))
    with torch.random.fork_rng():
        exec(compile(examples, "docs/your-data.md", "exec"), {"__name__": "docs"})
    said = printed(examples)
    assert examples.count("print(") == len(said) == 10
    assert capsys.readouterr().out.splitlines() == said


def test_every_encoding_and_kind_of_target_is_named() -> None:
    encodings = [re.findall(r'"(\w+)"', row[0]) for row in table(PAGE, "of C channels")[1:]]
    assert {name for names in encodings for name in names} == set(get_args(Named))
    kinds = {re.findall(r"`([\w -]+)`", row[1])[0] for row in table(PAGE, "`kind`")[1:]}
    assert kinds == set(get_args(TargetKind))
