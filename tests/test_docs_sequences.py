"""The example of the page on series runs and prints what it says, and its table has every preset with its parameters."""

import re
from pathlib import Path

import pytest

from fourfold import models, presets
from fourfold.data.sequences.speech import BANDS
from pages import blocks, printed

PAGE = (Path(__file__).parent.parent / "docs" / "sequences.md").read_text(encoding="utf-8")
SHAPES = {"basic-motions": ((100, 6), (100, 8), 4), "japanese-vowels": ((29, 12), (29, 12), 9)}
SHAPES["spoken-digits"] = ((142, 3 * BANDS), (142, 4 * BANDS), 10)


def test_the_example_runs_and_prints_what_it_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = "".join(blocks(PAGE, "python"))
    exec(compile(example, "docs/sequences.md", "exec"), {"__name__": "docs"})
    assert example.count("print(") == len(printed(example)) == 7
    assert capsys.readouterr().out.splitlines() == printed(example)


def test_every_preset_is_there_with_its_parameters() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]*?(?:, ([\d,]+) and ([\d,]+))? \|", PAGE, re.M)
    assert {row[0] for row in rows} == {name for name in presets.PRESETS if presets.get(name).data.name in SHAPES}
    for name, *told in rows:
        spec = presets.get(name)
        real, quaternion, classes = SHAPES[spec.data.name]
        for algebra, shape, count in zip(("real", "quaternion"), (real, quaternion), told, strict=True):
            network = models.build(spec.model.name, algebra=algebra, shape=shape, num_classes=classes, device="meta")
            assert not count or sum(p.numel() for p in network.parameters()) == int(count.replace(",", ""))
    assert sum(bool(row[1]) for row in rows) == 3
