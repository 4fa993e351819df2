"""What a finding shows is what the intervals say: title, bars, spans, words; and the words of fields and controls."""

import re
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import synthetic_runs as synthetic
from test_report_order import FULL, ORDER, REDUCED, SINGLE, UNDECIDED_ONE, experiment

from fourfold import presets
from fourfold.presets import studies
from fourfold.record import CONTROLS, Spec
from fourfold.report import Experiment, experiments_of_rows
from fourfold.report._comparisons import comparisons
from fourfold.report._experiments import experiments
from fourfold.report._findings import findings, gap_band, informative_span
from fourfold.report._sections import TASK_SECTIONS, Section, sections
from fourfold.report.dots import dot_plot
from fourfold.report.panels import draw_panel, gap_range
from fourfold.report.runs import Run, read_runs
from fourfold.report.scales import Scale, linear_ticks
from fourfold.report.svg import element, spread
from fourfold.report.verdicts import verdict, verdict_on
from fourfold.report.wording import CONTROL_WORDS, basis_words, control_words, setting_words, variant_words
from fourfold.report.words import gap


@pytest.mark.parametrize("found", ORDER, ids=lambda one: one.preset)
def test_a_verdict_names_a_gap_only_where_its_interval_excludes_zero(found: Experiment) -> None:
    said = verdict(found)
    (one,) = comparisons(found)
    assert one.by_parameters is not None
    assert (said.kind in ("ahead", "behind", "both")) is one.by_parameters.is_shown
    for side in (one.by_parameters.ahead, one.by_parameters.behind):
        if side is not None:
            assert side.gap.low is not None
            assert side.gap.high is not None
            assert side.gap.low * side.gap.high > 0
            assert f"{abs(side.gap.mean):.2f} points [" in said.text
    if not one.by_parameters.is_shown:
        assert "points" not in said.text
    assert said.trials == one.by_parameters.trials


@pytest.mark.parametrize("found", ORDER, ids=lambda one: one.preset)
def test_bars_lie_exactly_where_all_intervals_exclude_zero(found: Experiment) -> None:
    (one,) = comparisons(found)
    for quantity in ("fraction_of_real", "macs"):
        band = gap_band(one, quantity)
        assert band is not None
        assert list(band.x) == sorted(band.x, reverse=True)
        found_there = one.by_macs if quantity == "macs" else one.by_parameters
        assert found_there is not None
        assert bool(band.better) is (found_there.ahead is not None)
        assert bool(band.worse) is (found_there.behind is not None)
        for ranges, sign in ((band.better, 1), (band.worse, -1)):
            for big, small in ranges:
                inside = [one for x, one in zip(band.x, band.gaps, strict=True) if small <= x <= big]
                assert inside
                assert all(gap.low is not None and min(sign * gap.low, sign * gap.high) > 0 for gap in inside)
        low, high = informative_span(one, quantity)
        assert low < high
        assert all(low <= small and big <= high for big, small in (*band.better, *band.worse))
        bottom, top = gap_range(band, (low, high))
        assert bottom < 0 < top


def test_where_two_networks_have_few_sizes_in_common_all_sizes_are_shown(tmp_path: Path) -> None:
    for algebra in ("real", "quaternion"):
        synthetic.write(tmp_path, synthetic.spec(algebra), 1, 8)
    (found,) = experiments(read_runs([tmp_path]))
    (one,) = comparisons(found)
    shares = [point.fraction_of_real for curve in (one.real, one.curve) for point in curve.points]
    low, high = informative_span(one, "fraction_of_real")
    assert one.by_parameters is not None
    assert one.by_parameters.sizes[0] < 1.1 * one.by_parameters.sizes[-1]
    assert (low, high) == pytest.approx((min(shares), max(shares)))


def test_a_finding_of_one_pair_shows_equal_parameters_beside_equal_macs_and_its_csv_has_every_number() -> None:
    (finding,) = findings(FULL)
    assert finding.title == verdict(FULL).text
    assert [panel.heading for panel in finding.panels] == ["At equal parameters", "At equal MACs"]
    records = finding.records()
    for panel in finding.panels:
        assert panel.gap is not None
        drawn = {(x, y) for line in panel.lines for x, y in zip(line.x, line.y, strict=True)} | {
            (x, gap.mean) for x, gap in zip(panel.gap.x, panel.gap.gaps, strict=True)
        }
        assert drawn == {(one["share_of_dense_real"], one["mean"]) for one in records if one["panel"] == panel.heading}
        svg = draw_panel(panel)
        assert svg.count("<text") == len(re.findall(r"<text[^>]*>[^<]+</text>", svg))
        assert ">Quaternion</text>" in svg
        assert ">Real</text>" in svg
    macs = next(line for line in finding.panels[1].lines if line.label == "Quaternion")
    curve = FULL.tickets[1]
    assert macs.x == tuple(point.macs / curve.macs_real for point in curve.points)


def study(name: str, base: str = "digits") -> Experiment:
    """All variants of a study, a trial or two of a few levels each."""
    runs = []
    for spec in studies.specs(name, presets.get(base)):
        row = [replace(synthetic.row(spec, trial, level), preset=spec.preset) for trial in range(2) for level in range(10)]
        runs.append(Run(id=spec.id, spec=spec, rows=tuple(row), failures={}))
    (found,) = experiments(runs)
    return found


@pytest.mark.parametrize("name", ["budgets", "starts", "learning-rates", "precisions", "units"])
def test_variants_have_a_panel_each_whose_heading_is_words(name: str) -> None:
    found = study(name)
    for finding in findings(found):
        headings = [panel.heading for panel in finding.panels]
        assert len(headings) == len(comparisons(found)) > 1
        assert len(set(headings)) == len(headings)
        for heading in headings:
            assert not re.search(r"_|\bmacs\b|bf16|\bscore\b|None", heading)
    assert len({variant_words(one.curve, found) for one in comparisons(found)}) == len(comparisons(found))


def names_of(spec: object, prefix: str = "") -> list[str]:
    """Every field of a spec, with dots."""
    found = []
    for field in fields(spec):  # type: ignore[arg-type]
        value = getattr(spec, field.name)
        found += names_of(value, f"{prefix}{field.name}.") if is_dataclass(value) else [prefix + field.name]
    return found


def test_every_setting_and_every_control_has_words() -> None:
    spec: Spec = presets.get("digits")
    for name in names_of(spec):
        for value in (3, 0.25) if name == "prune.fraction" else ("some_value", 3, 0.25):
            said = setting_words(name, value)
            assert said
            assert "." not in said.replace("0.25", "")
            assert "_" not in said.replace("some_value", "")
    assert set(CONTROL_WORDS) == set(CONTROLS)
    assert len({control_words(control) for control in CONTROLS}) == len(CONTROLS)


def test_how_near_to_a_paper_is_said() -> None:
    assert basis_words(FULL) == "as published"
    assert basis_words(REDUCED) == "reduced: 2 epochs instead of 40"
    assert basis_words(UNDECIDED_ONE) == "not from a paper"
    assert basis_words(experiment("conv4-cifar10", 2)) == "reduced: 2 of 5 trials"
    assert basis_words(experiment("conv4-cifar10-scale-0.1", 2)).startswith("reduced: scaled to 0.1")


def test_controls_are_dots_with_their_own_intervals() -> None:
    spec = synthetic.spec("quaternion")
    rows = [synthetic.row(spec, trial, level) for trial in range(3) for level in range(12)]
    rows += [
        replace(synthetic.row(spec, trial, level, control="inverted"), top1=row.top1 - 5 - trial)
        for trial in range(3)
        for level in range(1, 12)
        for row in rows
        if (row.trial, row.level) == (trial, level)
    ]
    (found,) = experiments_of_rows(rows)
    plot = dot_plot(found)
    assert plot is not None
    assert 1 <= len(plot.panels) <= 3
    for panel in plot.panels:
        (dot,) = panel.dots
        assert dot.gap.mean == pytest.approx(-6)  # the mean of -5, -6 and -7
        assert dot.control == "the weights pruned first"
    assert plot.title.endswith("1 of 1 controls are shown to be worse than their tickets")
    assert len(plot.records()) == len(plot.panels)
    assert dot_plot(FULL) is None


def test_a_task_may_add_sections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASK_SECTIONS, "classification", (lambda found: Section(template="classes"), lambda found: None))
    assert [section.template for section in sections(FULL)].count("classes") == 1
    monkeypatch.setitem(TASK_SECTIONS, "regression", TASK_SECTIONS.pop("classification"))
    assert "classes" not in [section.template for section in sections(FULL)]


def test_comparisons_are_computed_once_an_experiment() -> None:
    assert comparisons(FULL) is comparisons(FULL)
    assert comparisons(FULL)[0].by_macs is comparisons(FULL)[0].by_macs


def test_one_trial_says_so_and_who_is_ahead() -> None:
    (one,) = comparisons(SINGLE)
    assert re.fullmatch(r"One trial shows no difference: quaternion is ahead of real at \d+ of \d+ sizes", verdict_on(one).text)


def test_drawings_have_words_escaped_scales_that_fit_and_labels_apart() -> None:
    assert element("text", "<b> & c", x=1.25, class_="t") == '<text x="1.2" class="t">&lt;b&gt; &amp; c</text>'
    assert element("line", x1=-0.04, y1=None) == '<line x1="0"/>'
    scale = Scale(low=0.01, high=1, at_low=200, at_high=0, logarithmic=True)
    assert [scale(value) for value in (0.01, 0.1, 1)] == pytest.approx([200, 100, 0])
    for low, high in ((0, 1), (-3e-5, 7e-5), (96.2, 98.1), (-60, 20)):
        ticks = linear_ticks(low, high, 5)
        assert 2 <= len(ticks) <= 6
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    places = spread([50, 50, 50, 99, 2], 10, 0, 100)
    ordered = sorted(places)
    assert all(b - a >= 10 - 1e-9 for a, b in pairwise(ordered))
    assert min(places) >= 0
    assert max(places) <= 100
    assert gap(-0.5) == "−0.50"
