"""What the README and the page of commands tell people to type works, and says what comes out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pages import blocks, relative_links

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
TOUR, LISTED = (
    [line.split("#")[0].strip() for block in blocks(page, "sh") for line in block.splitlines()] for page in (README, PAGE)
)
COMMANDS = list(dict.fromkeys([*TOUR, *LISTED]))
INSTALL = "python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt "


def fourfold(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fourfold", *arguments], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )


def test_the_two_commands_set_up_alike() -> None:
    two = [command for command in COMMANDS if command.startswith("python3")]
    assert len(two) == 2
    assert all(command.startswith(INSTALL) for command in two)
    assert two[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.slow
def test_python_lines_run_and_say_the_truth(tmp_path: Path) -> None:
    (block,) = blocks(README, "python")
    shorter = block.replace("trials=1", "trials=1, workers=0, budget_seconds=10")
    check = """
assert isinstance(layer, fourfold.nn.Conv2d) and layer.weight.shape == (128, 16, 3, 3)
parameters = [sum(p.numel() for p in fourfold.models.build("conv4", algebra=a).parameters()) for a in ("quaternion", "real")]
assert parameters == [609_226, 2_425_930]
assert sum(int(m.sum()) for m in masks.values()) == round(0.12 * 608_320)
assert [row.level for row in rows] == list(range(len(rows))) and len(rows) > 0
"""
    script = tmp_path / "readme.py"
    script.write_text(shorter + check, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-W", "error", str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if re.match(r"fourfold (presets|info|data)", c)])
def test_listing_commands_run(command: str, tmp_path: Path) -> None:
    if "mine.py" in command:
        assert fourfold(["new", "mine.py"], tmp_path).returncode == 0
    result = fourfold(command.split()[1:], tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout


@pytest.mark.slow
def test_main_job_ends_with_figure_and_page_and_report_reads_it(tmp_path: Path) -> None:
    (job,) = [command for command in TOUR if command.startswith(INSTALL) and "run digits" in command]
    arguments = job.partition("fourfold run ")[2].split()
    result = fourfold(["run", *arguments, "--epochs", "2", "--max-level", "2"], tmp_path)
    assert result.returncode == 0, result.stderr
    page = Path(result.stdout.splitlines()[-1].split()[-1])
    assert (tmp_path / page).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list((tmp_path / page).parent.glob("figures/*accuracy-log.png"))
    (report,) = [command for command in COMMANDS if command.startswith("fourfold report")]
    assert fourfold(report.split()[1:], tmp_path).returncode == 0
    assert (tmp_path / "report" / "index.html").exists()
    assert "finished" in fourfold(["status"], tmp_path).stdout


@pytest.mark.slow
def test_the_tour_goes_from_a_run_to_predictions_and_c(tmp_path: Path) -> None:
    tour = [command for command in TOUR if re.match(r"fourfold (export|predict)|fourfold run .*--keep", command)]
    assert [command.split()[1] for command in tour] == ["run", "export", "predict", "export"]
    keep = tour[0].split()[-1]
    image = load_digits().images[0] * (255 / 16)
    Image.fromarray(image.round().astype("uint8")).save(tmp_path / "seven.png")
    for command in tour:
        short = command.replace(f"--keep {keep}", "--keep 1 --max-level 1 --epochs 2")
        words = short.replace(f"--level {keep}", "--level 1").split()[1:]
        words = [str(next(tmp_path.glob(word))) if "*" in word else word for word in words]
        result = fourfold(words, tmp_path)
        assert result.returncode == 0, result.stderr
        if words[0] == "predict":
            assert "seven.png" in result.stdout
    assert (tmp_path / "ticket.safetensors").stat().st_size > 0
    assert sorted(path.suffix for path in (tmp_path / "ticket").iterdir()) == [".c", ".h"]


def test_relative_links_lead_somewhere() -> None:
    links = relative_links(README)
    assert len(links) > 4
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_is_named_and_known() -> None:
    from fourfold.cli import COMMANDS as KNOWN
    from fourfold.presets.papers import PRESETS

    ours = [command.split() for command in COMMANDS if command.startswith("fourfold ")]
    assert {next(name for name in KNOWN if words[1 : 1 + len(name.split())] == name.split()) for words in ours} == set(KNOWN)
    assert all(words[2] in PRESETS or words[2].endswith(".py") for words in ours if words[1] == "run")
