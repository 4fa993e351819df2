"""The strongest evidence stands first, undecided claims last, and the caveat about MACs once."""

import re
from dataclasses import replace
from itertools import permutations

import numpy as np
import synthetic_runs as synthetic

from fourfold import presets
from fourfold.report import Experiment
from fourfold.report._build import tables
from fourfold.report._experiments import experiments
from fourfold.report.claims import claims_table, decided_first, judge
from fourfold.report.evidence import UNDECIDED
from fourfold.report.order import shows_a_difference, strongest_first
from fourfold.report.page import pages
from fourfold.report.runs import Run
from fourfold.report.words import MACS_CAPTION, MACS_NOTE


def experiment(preset: str, trials: int, *, gap: float = 0.0, epochs: int | None = None) -> Experiment:
    """An experiment of eight levels whose quaternion network is `gap` points ahead (of noise alone, where it is 0)."""
    runs, draw = [], np.random.default_rng(1)
    for algebra in ("real", "quaternion"):
        spec = presets.get(preset, algebra=algebra) if preset in presets.PRESETS else synthetic.spec(algebra, preset=preset)
        spec = spec if epochs is None else replace(spec, train=replace(spec.train, epochs=epochs))
        rows = []
        for trial in range(trials):
            for level in range(12):
                noise = float(draw.normal(0, 0.5))
                top1 = 80 + (gap + noise if algebra == "quaternion" else 0)
                rows.append(replace(synthetic.row(spec, trial, level), top1=top1))
        runs.append(Run(id=spec.id, spec=spec, rows=tuple(rows), failures={}))
    (found,) = experiments(runs)
    return found


FULL = experiment("lenet-300-100-mnist", 5, gap=3)
UNDECIDED_ONE = experiment("zz-noise", 5)
REDUCED = experiment("conv2-cifar10", 5, gap=3, epochs=2)
MORE = experiment("zz-more", 6)
SINGLE = experiment("aa-single", 1, gap=20)
ORDER = [MORE, FULL, UNDECIDED_ONE, REDUCED, SINGLE]


def test_more_trials_then_whole_presets_then_what_is_shown() -> None:
    assert [shows_a_difference(one) for one in ORDER] == [False, True, False, True, False]
    for some in permutations(ORDER):
        assert [one.preset for one in strongest_first(some)] == [one.preset for one in ORDER]


def test_page_and_tables_are_in_that_order_and_only_what_is_shown_is_called_a_difference() -> None:
    found = pages(ORDER[::-1])
    assert found == pages(ORDER)
    index = found["index.html"]
    named = re.findall(r'<a href="experiments/[^"]+">([^<]+)</a>', index)
    assert named == [one.preset for one in ORDER]
    assert list(found)[1:] == re.findall(r'<a href="(experiments/[^"]+)">', index)
    kinds = re.findall(r'<div class="row" role="row" data-kind="([^"]+)">', index)
    assert [kind in ("ahead", "behind", "both") for kind in kinds] == [shows_a_difference(one) for one in ORDER]
    for one, text in zip(ORDER, list(found.values())[1:], strict=True):
        assert ('<h1 class="shown">' in text) is shows_a_difference(one)
        assert ('<h1 class="open">' in text) is not shows_a_difference(one)
    headings = re.findall(r"^## (.+)$", tables(ORDER[::-1]), re.MULTILINE)
    assert headings == [one.preset for one in ORDER]


def test_undecided_claims_come_last() -> None:
    judged = judge([FULL, REDUCED])
    undecided = [one.ours.verdict == UNDECIDED for one in decided_first(judged)]
    assert undecided == sorted(undecided)
    assert 0 < sum(undecided) < len(undecided)
    verdicts = re.findall(r'<b class="verdict"[^>]*>([^<]+)</b>', pages([FULL, REDUCED], judged)["index.html"])
    assert len(verdicts) == len(judged)
    assert [one == UNDECIDED for one in verdicts] == undecided


def test_the_caveat_about_macs_stands_once_in_each_document() -> None:
    judged = judge(ORDER)
    for text in (*pages(ORDER, judged).values(), tables(ORDER), claims_table(judged).to_markdown()):
        assert text.count("multiply-accumulates (MACs) of a real one") == text.count(MACS_NOTE) == 1
    assert len(MACS_CAPTION) < 40
