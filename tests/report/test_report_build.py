"""The whole folder: what is in it, that it is the same twice, and what is refused."""

import csv
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic_runs as synthetic

import fourfold.report as report
from fourfold.record import RunStore, UserError, find_runs
from fourfold.record.packed_runs import pack_run
from fourfold.report.names import slugs


def test_the_report_is_a_page_tables_and_figures(built: Path) -> None:
    written = {
        "claims.csv",
        "claims.json",
        "claims.md",
        "experiments",
        "figures",
        "gaps.csv",
        "index.html",
        "levels.csv",
        "summary.csv",
        "tables.md",
    }
    assert {file.name for file in built.iterdir()} == written
    with (built / "levels.csv").open(encoding="utf-8", newline="") as stream:
        levels = list(csv.DictReader(stream))
    assert len(levels) == 7 + 7 + 2
    assert {record["preset"] for record in levels} == {"conv4-cifar10", synthetic.EVIL}
    assert len(list((built / "experiments").iterdir())) == 2
    tables = (built / "tables.md").read_text(encoding="utf-8")
    assert "## conv4-cifar10" in tables
    assert "| Quaternion | 6 |" in tables
    assert "2 of 3" in tables


@pytest.mark.slow
def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        for algebra in ("real", "quaternion") if name == "one" else ("quaternion", "real"):
            synthetic.write(tmp_path / name / "runs", synthetic.spec(algebra), 2, 2)
        report.build([tmp_path / name / "runs"], tmp_path / name / "report")
    one, two = (sorted((tmp_path / name / "report").rglob("*.*")) for name in ("one", "two"))
    assert [file.name for file in one] == [file.name for file in two]
    assert len(one) == 8 + 3 * 8
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Draw no figures, which takes seconds; returns the names that they would have had."""
    slugs: list[str] = []
    module = importlib.import_module("fourfold.report._build")
    monkeypatch.setattr(module, "_write_figures", lambda experiment, folder, slug: slugs.append(slug))
    return slugs


@pytest.mark.usefixtures("no_figures")
def test_building_again_replaces_the_report(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "runs", synthetic.spec("real"), 1, 1)
    page = report.build([tmp_path / "runs"], tmp_path / "out")
    first = page.read_text(encoding="utf-8")
    synthetic.write(tmp_path / "runs", synthetic.spec("real"), [1], 1)
    assert report.build([tmp_path / "runs"], tmp_path / "out") == page == tmp_path / "out" / "index.html"
    assert page.read_text(encoding="utf-8") != first


def test_two_presets_of_one_slug_do_not_overwrite_each_other(tmp_path: Path, no_figures: list[str]) -> None:
    for number, preset in enumerate(("a b", "a-b", "§")):
        synthetic.write_as(tmp_path / "runs" / str(number), synthetic.spec("real", preset=preset), 1, 1)
    report.build([tmp_path / "runs"], tmp_path / "out")
    assert no_figures == ["a-b", "a-b-1", "preset"]


def test_no_two_experiments_have_one_file_name() -> None:
    names = ["A-B-2", "a b", "a-b", "a_b", "§", "¶"]
    found = report.experiments_of_rows([synthetic.row(synthetic.spec("real", preset=name), 0, 0) for name in names])
    assert len(set(slugs(found))) == len(names)


@pytest.mark.usefixtures("no_figures")
def test_what_was_written_is_said_in_a_few_lines(tmp_path: Path) -> None:
    for number in range(10):
        synthetic.write_as(tmp_path / "runs" / str(number), synthetic.spec("real", preset=f"name-{number}"), 1, 1)
    written = report.write_report([tmp_path / "runs"], tmp_path / "out")
    lines = written.lines(most=8)
    assert lines[0] == f"wrote {tmp_path / 'out' / 'index.html'}: 10 experiments, figures and tables beside it"
    assert len(lines) == 1 + 8 + 1
    assert lines[1] == "  name-0    1 trial   Only the real network was run"
    assert lines[-1] == "  and 2 more"


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^there are no runs in .*; `fourfold run` makes some$"):
        report.build([tmp_path], tmp_path / "out")
    RunStore.create(tmp_path, synthetic.spec("real"))
    with pytest.raises(UserError, match=r"has finished a level yet; there is nothing to report$"):
        report.build([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "runs", synthetic.spec("real"), 1, 1)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"^cannot write the report to .*file.* \(.+\); choose another --out$"):
        report.build([tmp_path / "runs"], tmp_path / "file" / "out")


@pytest.mark.slow
def test_the_summary_needs_neither_matplotlib_nor_torch() -> None:
    heavy = "[name for name in ('matplotlib', 'torch') if name in sys.modules]"
    script = f"import sys; from fourfold.report import summary; summary([]); print({heavy})"
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_the_summary_is_a_few_plain_lines() -> None:
    rows = [
        synthetic.row(synthetic.spec(algebra), trial, level)
        for algebra in ("real", "quaternion")
        for trial in range(3)
        for level in range(16)
    ]
    lines = report.summary(rows).splitlines()
    assert lines[0] == "conv4-cifar10: Conv-4 on CIFAR-10"
    assert lines[1].startswith("  Quaternion is ahead of real at ")
    assert any(line.startswith("  Dense top-1 accuracy: Real 8") for line in lines)
    assert len(lines) == 4
    assert report.summary([]) == "No level has finished yet."


def test_a_run_that_is_torn_or_of_another_version_is_named(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, synthetic.spec("real"), 1, 1)
    value = json.loads((store.path / "spec.json").read_text(encoding="utf-8"))
    (store.path / "spec.json").write_text(json.dumps(value | {"spec_version": 0}), encoding="utf-8")
    with pytest.raises(UserError, match=r"spec\.json was written with spec version 0"):
        report.build([tmp_path], tmp_path / "out")


@pytest.mark.slow
def test_packed_runs_give_the_same_report_byte_for_byte(runs: Path, built: Path, tmp_path: Path) -> None:
    packed = shutil.copytree(runs, tmp_path / "runs")
    stores = find_runs(packed)
    assert sum(len(pack_run(store)) for store in stores) == len(list(runs.rglob("*.jsonl")))
    assert not list(packed.rglob("*.jsonl"))
    out = report.build([packed], tmp_path / "report").parent
    files = {file.relative_to(built) for file in built.rglob("*") if file.is_file()}
    assert files == {file.relative_to(out) for file in out.rglob("*") if file.is_file()}
    assert [file for file in sorted(files) if (built / file).read_bytes() != (out / file).read_bytes()] == []
