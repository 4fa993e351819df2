"""`fourfold reproduce`: what it runs, what it leaves alone, and what it says."""

import dataclasses
import importlib
import json
import re

import pytest
from cli_samples import call, tiny_preset, tree

from fourfold import presets
from fourfold.record import RunStore
from fourfold.report import paper_figures
from fourfold.report.paper_figures import FIGURES, TABLES, PaperFigure
from fourfold.report.plots import accuracy_plots, training_plots
from fourfold.report.scaling import scaled
from fourfold.timing.clock import Clock


@pytest.fixture(autouse=True)
def quick_clock(monkeypatch):
    """Forecasts without training anything."""
    monkeypatch.setattr(Clock, "level_seconds", lambda self, spec, density=1.0: 60.0)


def blank_figures(experiment, folder, slug):
    """Stand in for drawing, which takes seconds and has tests of its own."""
    for plot in (*accuracy_plots(experiment), *training_plots(experiment)):
        (folder / f"{slug}-{plot.name}.png").touch()


@pytest.fixture
def tiny(monkeypatch):
    """A figure of a run of a second, and one that needs its first level only."""
    monkeypatch.setattr(importlib.import_module("fourfold.report._build"), "_write_figures", blank_figures)
    monkeypatch.setitem(presets.PRESETS, "tiny", tiny_preset)
    both = {"paper": 1, "shows": "a test", "presets": ("tiny",)}
    monkeypatch.setitem(FIGURES, "p0-fig1", PaperFigure(**both, pictures=("accuracy-log",)))
    monkeypatch.setitem(FIGURES, "p0-fig2", PaperFigure(**both, pictures=("training-dense",), last_level=0))
    monkeypatch.setattr(paper_figures, "TRIALS", {1: 2})
    return tiny_preset()


def test_without_a_name_everything_is_listed(here):
    ended = call("reproduce")
    assert (ended.code, ended.err) == (0, "")
    names = [line.split()[0] for line in ended.out.splitlines()[1:] if not line.startswith(" ")]
    assert names == [*FIGURES, *TABLES]
    assert tree(here) == {}


def test_the_dry_run_of_all_says_how_long_each_takes(here, monkeypatch):
    monkeypatch.setattr(paper_figures, "FIGURES", {name: FIGURES[name] for name in ("p1-fig2a", "p1-fig3a", "p1-fig5")})
    ended = call("reproduce", "--dry-run", "--out", "nowhere", "--workers", "2")
    assert (ended.code, ended.err) == (0, "")
    lines = [line for line in ended.out.splitlines() if not line.startswith(" ")]  # others say that data are missing
    assert [line.split()[0] for line in lines] == ["p1-fig2a", "p1-fig3a", "p1-fig5"]
    # five trials of two dense networks, a minute each, two at a time
    said = "about 5 min for 10 levels, 2 at a time: lenet-300-100-mnist; 5 trials of each, real and quaternion"
    assert lines[0].split(maxsplit=1)[1] == said
    assert lines[1].endswith("; 5 trials of each, quaternion")
    assert tree(here) == {}


@pytest.mark.slow
def test_a_figure_is_run_drawn_and_not_run_again(here, tiny):
    first = call("reproduce", "p0-fig1", "--workers", "1", "--out", "runs")
    assert (first.code, first.err) == (0, "")
    assert "about 20 min for 20 levels, 1 at a time: tiny; 2 trials of each" in first.out
    pictures = re.findall(r"^figure  (\S+)$", first.out, re.MULTILINE)
    assert pictures == ["runs/p0-fig1-report/figures/tiny-accuracy-log.png"]
    assert (here / pictures[0]).exists()
    rows = {name: text for name, text in tree(here / "runs").items() if "rows-" in name}
    assert len(rows) == 4
    again = call("reproduce", "p0-fig1", "--workers", "1", "--out", "runs")
    assert "for 0 levels, 20 done already" in again.out
    assert {name: text for name, text in tree(here / "runs").items() if "rows-" in name} == rows
    dense = call("reproduce", "p0-fig2", "--workers", "1", "--out", "runs")  # has every level that it needs already
    assert "for 0 levels" in dense.out
    assert "runs/p0-fig2-report/figures/tiny-training-dense.png" in dense.out
    assert {name: text for name, text in tree(here / "runs").items() if "rows-" in name} == rows


@pytest.mark.slow
def test_a_smaller_version_has_a_name_of_its_own_everywhere(here, tiny):
    ended = call("reproduce", "p0-fig2", "--scale", "0.1", "--workers", "1", "--out", "runs")
    assert (ended.code, ended.err) == (0, "")
    assert "tiny-scale-0.1: Lenet-12 on digits, scaled to 0.1" in ended.out
    small = scaled(tiny, 0.1)
    small = dataclasses.replace(small, stop=dataclasses.replace(small.stop, max_level=0))
    assert [len(RunStore(here / "runs" / small.id).rows(trial)) for trial in range(3)] == [1, 1, 0]
    assert (here / "runs" / "p0-fig2-scale-0.1-report" / "figures" / "tiny-scale-0-1-training-dense.png").exists()
    page = (here / "runs" / "p0-fig2-scale-0.1-report" / "index.html").read_text(encoding="utf-8")
    assert "Lenet-12 on digits, scaled to 0.1" in page


@pytest.mark.slow
def test_claims_are_judged_and_written(here, tiny):
    call("reproduce", "p0-fig2", "--workers", "1", "--out", "runs")
    ended = call("claims")
    assert (ended.code, ended.err) == (0, "")
    assert "p2-headline-cifar100" in ended.out
    assert re.search(r"^Of \d+ claims of the two papers, by our rows 0 hold, 0 do not hold", ended.out, re.MULTILINE)
    records = json.loads((here / "report" / "claims.json").read_text(encoding="utf-8"))
    assert {record["verdict"] for record in records} == {"not enough data"}
    assert all(record["command"].startswith("fourfold ") for record in records)
    assert "Claims of the two papers" in (here / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), [("p1-table1", "2,425,930"), ("p2-params", "15,160,744")])
def test_tables_are_computed_from_the_models(name, number, here):
    ended = call("reproduce", name)
    assert (ended.code, ended.err) == (0, "")
    assert number in ended.out
    assert ("p2" in name) is ("resnet-18" in ended.out)


MISTAKES = [
    ("p9", r"unknown figure or table 'p9'; `fourfold reproduce` describes them"),
    ("claims --scale 0.1", r"`--scale` cannot be combined with claims, .*"),
    ("claims --dry-run", r"`--dry-run` cannot be combined with claims, .*"),
    ("claims nowhere", r"there is no nowhere; name a run's folder or one that holds runs"),
    ("claims empty", r"there are no runs in empty; `fourfold run` makes some"),
    ("p1-fig4a runs", r"`p1-fig4a` cannot be combined with folders of runs \(=runs\): .*"),
    ("p1-table1 --budget 3m", r"`--budget` cannot be combined with p1-table1, .*"),
    ("p2-params --out here", r"`--out` cannot be combined with p2-params, .*"),
    ("--scale 0.5", r"`--scale` must come with a figure; `fourfold reproduce` lists them"),
    ("p1-fig4a --scale 0", r"`--scale` \(=0\) must lie in \(0, 1\] and have at most three decimals, such as 0\.1"),
    ("p1-fig4a --scale 2", r"`--scale` \(=2\) must lie in \(0, 1\] .*"),
    ("p1-fig4a --budget soon", r"`--budget` \(='soon'\) must be a duration such as 90s, 9m or 1h30m"),
    ("p1-fig4a --workers -1", r"`workers` \(=-1\) must be at least 0"),
    ("p1-fig4a --device foo", r"unknown device 'foo'; known: .*"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence(words, sentence, here):
    (here / "empty").mkdir()
    before = tree(here)
    ended = call("reproduce", *words.split())
    assert ended.code == 2
    assert re.fullmatch(f"fourfold: {sentence}\n", ended.err), ended.err
    assert tree(here) == before
