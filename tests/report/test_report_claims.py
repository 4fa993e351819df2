"""Verdicts on claims: from synthetic trials whose truth is known, and from the papers' own curves."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import synthetic_runs as synthetic

from fourfold import presets, report
from fourfold.record import RunStore, Spec
from fourfold.report import checks
from fourfold.report._curves import Trace
from fourfold.report.checks import Check
from fourfold.report.claim_list import CLAIMS
from fourfold.report.claims import Judged, claim_records, claims_table, concerns_claims, count_sentence, judge, ours_in_words
from fourfold.report.evidence import FAILS, HOLDS, UNDECIDED, Evidence
from fourfold.report.paper_figures import FIGURES, TABLES
from fourfold.report.scaling import scaled

FRACTIONS = tuple(0.25 * 0.8**level for level in range(12))


def traces(gap: float, trials: int = 5, noise: float = 0.3, slope: float = 0.0, base: float = 80.0) -> tuple[Trace, ...]:
    """Trials that are `gap` points above `base`, and `slope` more a level."""
    draw = np.random.default_rng([round(abs(100 * value)) for value in (gap, slope, noise, base)])
    density = tuple(0.8**level for level in range(12))
    return tuple(
        Trace(
            trial=trial,
            density=density,
            fraction_of_real=FRACTIONS,
            top1=tuple(base + gap + slope * level + draw.normal(0, noise) for level in range(12)),
        )
        for trial in range(trials)
    )


def verdict(check: Check, quaternion: tuple[Trace, ...], real: tuple[Trace, ...] = traces(0), **fields: object) -> str:
    return check.measure(Evidence(quaternion=quaternion, real=real, **fields)).verdict  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("check", "holds", "fails", "unsure"),
    [
        (checks.gap_above(0.1, 3, 4), traces(5), traces(1), traces(3, noise=2)),
        (checks.dense_behind(), traces(-3), traces(3), traces(0, noise=4)),
        (checks.dense_comparable(), traces(-0.5), traces(-4), traces(-2, noise=4)),
        (checks.dense_unsatisfactory(), traces(-4), traces(-0.5), traces(-2, noise=4)),
        (checks.ticket(0.512), traces(0, noise=0.1), traces(0, slope=-2), traces(0, slope=-1 / 3, noise=1)),
        (checks.declines(0.512), traces(0, slope=-2), traces(0, noise=0.1), traces(0, slope=-1 / 3, noise=1)),
        (checks.ahead_below(0.1), traces(3), traces(-3), traces(0)),
        (checks.behind_below(), traces(-3), traces(3), traces(0, trials=2, noise=1)),
        (checks.crosses_near(0.09), traces(-9.2, slope=2), traces(-2, slope=2), traces(-4.6, slope=1, noise=3)),
    ],
)
def test_a_check_decides_where_its_interval_does(
    check: Check, holds: tuple[Trace, ...], fails: tuple[Trace, ...], unsure: tuple[Trace, ...]
) -> None:
    assert (verdict(check, holds), verdict(check, fails), verdict(check, unsure)) == (HOLDS, FAILS, UNDECIDED)
    assert verdict(check, holds[:1]) == UNDECIDED  # one trial has no interval
    assert verdict(check, holds[:1], traces(0)[:1], of_means=True) == HOLDS
    assert verdict(check, fails[:1], traces(0)[:1], of_means=True) == FAILS


def test_curves_that_never_cross_refute_a_crossing_only_where_an_interval_says_so() -> None:
    check = checks.crosses_near(0.09)
    assert verdict(check, traces(-3)) == FAILS
    assert verdict(check, traces(-3)[:1]) == UNDECIDED
    assert verdict(check, traces(-3, noise=6)) == UNDECIDED
    assert verdict(checks.crosses_near(0.001), traces(-3)) == UNDECIDED  # nothing was measured that sparse
    assert verdict(check, traces(-3)[:1], traces(0)[:1], of_means=True) == FAILS


def test_a_gap_says_where_it_is_first_as_large_as_the_paper_says() -> None:
    found = checks.gap_above(0.2, 3, 4).measure(Evidence(quaternion=traces(0, slope=1, noise=0), real=traces(0, noise=0)))
    assert found.text == f"+1.00 points at 20.0 % of the real parameters; +4 is first measured at {100 * FRACTIONS[4]:.1f} %"
    nowhere = checks.gap_above(0.2, 3, 40).measure(Evidence(quaternion=traces(0, slope=1), real=traces(0)))
    assert nowhere.text.endswith("+40 is measured nowhere")
    assert checks.gap_above(0.5, 3, 4).measure(Evidence(quaternion=traces(1), real=traces(0))).text == "not measured"


def test_outliving_and_staying_longer() -> None:
    dying, living = traces(0, slope=-8), traces(0, slope=-3)
    assert verdict(checks.outlives(), living, dying) == HOLDS
    assert verdict(checks.outlives(), traces(-20, slope=-8), dying) == FAILS
    assert verdict(checks.outlives(), living, traces(0)) == UNDECIDED  # real never fails
    assert verdict(checks.stays_longer(), traces(0, slope=-0.4, noise=0.1), traces(0, slope=-3, noise=0.1)) == HOLDS
    assert verdict(checks.stays_longer(), traces(0, slope=-3, noise=0.1), traces(0, slope=-0.4, noise=0.1)) == FAILS


def test_networks_that_are_both_lost_are_not_compared() -> None:
    dead = traces(0, base=1.0)
    assert checks.ahead_below(0.1).measure(Evidence(quaternion=dead, real=dead)).text == "not measured"


def test_a_ticket_is_held_against_its_control_where_that_was_trained() -> None:
    some = tuple(
        Trace(trial=one.trial, density=one.density[2:8:5], fraction_of_real=one.fraction_of_real[2:8:5], top1=one.top1[2:8:5])
        for one in traces(-5)
    )
    check = checks.ticket_beats("random-init")
    found = check.measure(Evidence(quaternion=traces(0), real=(), controls={"random-init": some}))
    assert (found.verdict, found.trials) == (HOLDS, 5)
    assert "ahead at 2 of 2 fractions" in found.text
    assert check.measure(Evidence(quaternion=traces(0), real=())).text == "not measured"
    other_trials = Evidence(quaternion=traces(0)[:2], real=(), controls={"random-init": some[2:]})
    assert check.measure(other_trials).text == "not measured"
    same = traces(0)  # dense, a control may be the ticket itself
    with_dense = tuple(
        Trace(
            trial=one.trial,
            density=one.density[::5],
            fraction_of_real=one.fraction_of_real[::5],
            top1=dense.top1[:1] + one.top1[5::5],
        )
        for one, dense in zip(traces(-5), same, strict=True)
    )
    assert (
        "ahead at 2 of 2 fractions"
        in check.measure(Evidence(quaternion=same, real=(), controls={"random-init": with_dense})).text
    )


def published() -> dict[str, Judged]:
    return {one.name: one for one in judge([])}


def test_the_papers_own_data_bear_their_claims_out_but_for_a_headline() -> None:
    theirs = {name: one.theirs for name, one in published().items() if one.theirs is not None}
    refuted = {name for name, one in theirs.items() if one.verdict == FAILS}
    assert refuted == {"p2-headline-cifar100", "p2-almost-as-good-resnet18", "p2-almost-as-good-resnet34"}
    headline = theirs["p2-headline-cifar100"]
    assert headline.estimate == pytest.approx(0.5, abs=0.1)  # not +4
    assert headline.text.endswith("+4 is first measured at 0.706 %")
    assert theirs["p2-headline-imagenet64"].estimate == pytest.approx(7, abs=0.3)
    assert theirs["p1-ten-points"].estimate == pytest.approx(12.4, abs=0.3)
    assert theirs["p1-crossing"].verdict == HOLDS
    assert len(theirs) >= 40


def test_a_claim_without_rows_names_the_command_that_gets_them() -> None:
    for one in published().values():
        assert (one.ours.verdict, one.basis, ours_in_words(one)) == (UNDECIDED, "", "not run")
        words = one.command.split() if one.command else []
        assert words[0] == "fourfold"
        if words[1] == "reproduce":
            assert one.claim.preset in FIGURES[words[2]].presets
        else:
            assert words[1:3] == ["run", one.claim.preset]
    assert {claim.preset for claim in CLAIMS.values()} <= set(presets.PRESETS)
    assert {preset for figure in FIGURES.values() for preset in figure.presets} <= set(presets.PRESETS)
    assert not set(FIGURES) & set(TABLES)


def test_early_stopping_is_claimed_of_every_network_that_section_5_1_is_about() -> None:
    claimed = {claim.preset for name, claim in CLAIMS.items() if name.startswith("p1-early-stopping-")}
    assert claimed == set(FIGURES["p1-sec5.1"].presets)
    assert claimed == {name for name in presets.PRESETS if name.endswith("-early-stopping")}


def rows_of(spec: Spec, out: Path, trials: int = 3, levels: int = 22) -> None:
    synthetic.write(out, spec, trials, levels)


@pytest.mark.slow
def test_claims_are_judged_by_rows_of_the_papers_experiment_first(tmp_path: Path) -> None:
    for algebra in ("real", "quaternion"):
        spec = presets.get("conv4-cifar10", algebra=algebra)
        rows_of(spec, tmp_path / "scaled", levels=5)
        rows_of(scaled(spec, 0.1), tmp_path / "scaled")
        rows_of(dataclasses.replace(spec, train=dataclasses.replace(spec.train, learning_rate=0.01)), tmp_path / "other")

    def judged(*folders: str) -> dict[str, Judged]:
        found = report.experiments(report.read_runs([tmp_path / folder for folder in folders]))
        assert concerns_claims(found)
        return {one.name: one for one in judge(found)}

    first = judged("scaled")
    assert first["p1-dense-conv4-cifar10"].basis == "as the paper's text"
    assert first["p1-ten-points"].basis == "scaled to 0.1"  # the full experiment has no rows down to 3 %
    assert first["p1-ten-points"].ours.verdict == UNDECIDED
    assert first["p1-ten-points"].ours.low > 10  # it would hold
    assert first["p1-ten-points"].command == "fourfold reproduce p1-fig4c"
    assert first["p1-ten-points"].ours.trials == 3
    assert ours_in_words(first["p1-ten-points"]).endswith("3 trials; scaled to 0.1")
    assert first["p1-ahead-conv6-cifar10"].basis == ""
    assert judged("scaled", "other")["p1-ten-points"].basis == "other settings than the preset's"
    assert concerns_claims(()) is False


def changed(spec: Spec, fraction: float, precision: str | None) -> Spec:
    """`spec` with coarser levels and in another precision."""
    prune, train = dataclasses.replace(spec.prune, fraction=fraction), dataclasses.replace(spec.train, precision=precision)
    return dataclasses.replace(spec, prune=prune, train=train)


def study(out: Path, bf16_gap: float, spread: float = 0.1, preset: str = "digits-conv2") -> None:
    """Rows of the study `precisions`, in which bf16 is so far ahead until networks are lost, in bf16 sooner."""
    for spec in presets.studies.specs("precisions", presets.get(preset)):
        store = RunStore.create(out, spec)
        ahead = bf16_gap if spec.train.precision == "bf16" else 0.0
        for trial in range(4):
            for level in range(3):
                store.append(synthetic.row(spec, trial, level, top1=80 + trial + ahead * (1 + spread * (-1) ** trial)))
            store.append(synthetic.row(spec, trial, 3, top1=10.0 if ahead else 30.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fraction", "precision", "words"),
    [
        (0.488, None, "every third level"),
        (0.2, "bf16", "bf16"),
        (0.488, "bf16", "every third level, bf16"),
        (0.36, "bf16", "every second level, bf16"),
        (0.3, None, None),
        (0.3, "bf16", None),
    ],
)
def test_coarser_levels_and_bf16_decide_a_claim_and_the_verdict_says_so(
    tmp_path: Path, fraction: float, precision: str | None, words: str | None
) -> None:
    for algebra in ("real", "quaternion"):
        rows_of(changed(presets.get("conv4-cifar10", algebra=algebra), fraction, precision), tmp_path / "rows")

    def judged(*folders: str) -> Judged:
        found = report.experiments(report.read_runs([tmp_path / folder for folder in ("rows", *folders)]))
        return {one.name: one for one in judge(found)}["p1-ahead-conv4-cifar10"]

    study(tmp_path / "free", -0.1)
    study(tmp_path / "dear", -1.0, preset="digits-resnet8")
    study(tmp_path / "unsure", -0.3, spread=2.0)
    study(tmp_path / "perceptrons", -0.1, preset="digits")
    if words is None:
        assert judged("free").basis == "other settings than the preset's"
        assert judged("free").verdict == UNDECIDED
        return
    assert judged("free").verdict == f"{HOLDS}: {words}, 3 trials"
    assert judged("free").command is None
    for folders in ([], ["dear"], ["unsure"], ["perceptrons"], ["free", "dear"]):
        other = judged(*folders)
        if precision is None:
            assert other.verdict == f"{HOLDS}: {words}, 3 trials"
        else:
            assert other.verdict == UNDECIDED
            assert other.basis == f"{words}, which no study here shows to cost nothing"


def test_verdicts_follow_the_rows(tmp_path: Path) -> None:
    for algebra, top1 in (("real", 70.0), ("quaternion", 60.0)):
        spec = presets.get("conv4-cifar10", algebra=algebra)
        store = RunStore.create(tmp_path, spec)
        for trial in range(3):
            for level in range(22):
                store.append(synthetic.row(spec, trial, level, top1=top1 + trial * 0.1 * (1 if algebra == "real" else 2)))
    judged = {one.name: one for one in judge(report.experiments(report.read_runs([tmp_path])))}
    assert judged["p1-ten-points"].ours.verdict == judged["p1-ahead-conv4-cifar10"].ours.verdict == FAILS
    assert judged["p1-crossing"].ours.text == "the mean gap never exceeds zero"
    assert judged["p1-ten-points"].command is None
    assert judged["p1-ten-points"].ours.estimate == pytest.approx(-9.9, abs=0.05)


def test_claims_are_written_as_markdown_csv_and_json(built: Path) -> None:
    text = (built / "claims.md").read_text(encoding="utf-8")
    assert text.startswith(f"# Claims\n\nOf {len(CLAIMS)} claims of the two papers, by our rows ")
    assert f"| {len(CLAIMS)} " not in text
    assert text.count("\n| Paper ") == len(CLAIMS)
    records = json.loads((built / "claims.json").read_text(encoding="utf-8"))
    with (built / "claims.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [record["claim"] for record in records] == [line["claim"] for line in lines] == list(CLAIMS)
    assert all(record["criterion"] and record["place"] for record in records)


def test_the_table_begins_with_what_our_rows_decide() -> None:
    undecided, other = list(published().values())[:2]
    decided = dataclasses.replace(
        other, ours=dataclasses.replace(other.ours, verdict=HOLDS, trials=5), basis="as the paper's text"
    )
    table = claims_table([undecided, decided])
    assert [row[1] for row in table.rows] == [HOLDS, UNDECIDED]
    assert count_sentence([undecided, decided]).endswith("1 hold, 0 do not hold, and on 1 there is not enough data.")
    assert claim_records([decided])[0]["command"] is None
