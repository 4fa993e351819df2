"""The examples of the page on segmentation run and print what they say; its tables name every network and metric."""

import re
from pathlib import Path

import pytest
import torch

from fourfold import models
from pages import blocks, printed, relative_links, table

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "segmentation.md").read_text(encoding="utf-8")


def test_examples_run_and_print_what_they_say(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = "".join(blocks(PAGE, "python"))
    with torch.random.fork_rng():
        exec(compile(examples, "docs/segmentation.md", "exec"), {"__name__": "docs"})
    said = printed(examples)
    assert examples.count("print(") == len(said) == 6
    assert capsys.readouterr().out.splitlines() == said
    assert [link for link in relative_links(PAGE) if not (ROOT / "docs" / link).exists()] == []


def test_the_table_has_the_parameters_of_every_network() -> None:
    rows = {re.sub("`", "", row[0]): row for row in table(PAGE, "channels")[1:]}
    of_images = {name: info for name, info in models.MODELS.items() if not (info.series or info.tokens)}
    assert set(rows) == {name for name, info in of_images.items() if info.outputs == "label map"}
    for name, (_, _, counts) in rows.items():
        networks = [models.build(name, algebra=algebra, num_classes=11, device="meta") for algebra in ("real", "quaternion")]
        assert counts == " and ".join(f"{sum(p.numel() for p in network.parameters()):,}" for network in networks)
