"""Every example of the page on torch's tools runs, in order, and prints what it says."""

import re
import warnings
from pathlib import Path

import pytest
import torch

from pages import blocks, printed, relative_links

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "torch-tools.md").read_text(encoding="utf-8")
IMPORTS, *EXAMPLES = blocks(PAGE, "python")


def test_every_section_has_an_example() -> None:
    counts = {part.partition("\n")[0]: len(blocks(part, "python")) for part in PAGE.split("\n## ")[1:]}
    assert min(counts.values()) >= 1


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of torch's own quantisation and scripts
def test_the_examples_run_and_print_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(IMPORTS, "docs/torch-tools.md", "exec"), names)
    for example in EXAMPLES:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            torch.manual_seed(0)
            exec(compile(example, "docs/torch-tools.md", "exec"), names)
        assert capsys.readouterr().out.splitlines() == printed(example), example


def test_every_row_names_what_there_is_in_our_package() -> None:
    from fourfold import nn as fnn

    assert [name for name in re.findall(r"`fnn\.(\w+)", PAGE) if not hasattr(fnn, name)] == []


def test_links_lead_somewhere() -> None:
    assert [link for link in relative_links(PAGE) if not (DOCS / link).exists()] == []
