"""Every example of the page on layers runs and prints what it says; every layer that we have is named there."""

import re
from pathlib import Path

import pytest
import torch

from fourfold import nn as fnn
from pages import blocks, is_our_layer, printed, relative_links

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "layers.md").read_text(encoding="utf-8")
IMPORTS, *EXAMPLES = blocks(PAGE, "python")
SECTIONS = re.findall(r"^## (.*)$", PAGE, re.M)


def test_every_group_has_an_example() -> None:
    assert [len(blocks(part, "python")) for part in PAGE.split("\n## ")[1:]] == [1] * len(SECTIONS)


@pytest.mark.parametrize("example", EXAMPLES, ids=SECTIONS)
def test_examples_run_and_print_what_they_say(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(IMPORTS + example, "docs/layers.md", "exec"), {})
    assert example.count("print(") == len(printed(example))
    assert capsys.readouterr().out.splitlines() == printed(example)


def test_every_layer_is_named() -> None:
    layers = [name for name in fnn.__all__ if is_our_layer(getattr(fnn, name))]
    stems = {re.sub("[123]d$", "", name).removesuffix("Cell") for name in layers}
    assert [stem for stem in stems if not re.search(rf"`{stem}(1d)?`", PAGE)] == []


def test_links_lead_somewhere() -> None:
    assert [link for link in relative_links(PAGE) if not (DOCS / link).exists()] == []
