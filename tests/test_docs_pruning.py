"""The examples of the page on pruning run and print what they say, and its tables name everything that there is."""

import re
from pathlib import Path

import pytest
import torch

from fourfold import pruning
from fourfold.record import CONTROLS
from fourfold.record.prune_spec import PruneSpec
from pages import blocks, printed, table

PAGE = (Path(__file__).parent.parent / "docs" / "pruning.md").read_text(encoding="utf-8")
IMPORTS, *EXAMPLES = blocks(PAGE, "python")


def test_examples_run_and_print_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(IMPORTS + "".join(EXAMPLES), "docs/pruning.md", "exec"), {})
    said = printed("".join(EXAMPLES))
    assert "".join(EXAMPLES).count("print(") == len(said) == 7
    assert capsys.readouterr().out.splitlines() == said


def names(column: str) -> set[str]:
    """The names in the first column of the table whose second column is the given one."""
    return {re.sub("`", "", row[0]) for row in table(PAGE.replace("\\|", "¦"), column)[1:]}


def test_every_score_control_and_field_is_named() -> None:
    assert names("keeps the largest") == set(pruning.SCORES)
    assert names("what differs from the ticket") == set(CONTROLS)
    assert names("values") <= set(PruneSpec.__dataclass_fields__)
    for name in (*pruning.UNITS, *pruning.SCOPES, *pruning.BUDGETS):
        assert f"`{name}`" in PAGE or f'"{name}"' in PAGE, name
