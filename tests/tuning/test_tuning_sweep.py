"""Grids: every point is a run, judged by the images that are held out of its training."""

from dataclasses import replace

import pytest
import torch
from sweep_samples import FakeRun, bases

from fourfold import lottery, presets
from fourfold.cli.sweep_result import print_result
from fourfold.record import TOP1, Metric, Row, RunStore, UserError
from fourfold.train import evaluate
from fourfold.tuning import sweep
from fourfold.tuning.sweep import Range
from lottery_samples import prepared, results, tiny_spec

RATES = (3e-4, 1e-3, 3e-3, 1e-2)


def test_a_row_tells_the_accuracy_on_the_held_out_images(tmp_path):
    spec = sweep.base_of(tiny_spec("quaternion"), level=1, validation=100)
    store = RunStore.create(tmp_path, spec)
    lottery.run_trial(prepared(spec), store, 0, keep=[1])
    rows = store.rows(0)
    assert [row.level for row in rows] == [0, 1]
    network = lottery.load_trained(store, 0, 1)
    assert len(prepared(spec).splits.validation) == 100
    with torch.no_grad():
        assert rows[1].validation == pytest.approx(evaluate(network, prepared(spec).splits.validation).top1)
    assert rows[1].validation != rows[1].top1
    assert results([Row.from_line(row.to_line()) for row in rows]) == results(rows)


def test_the_same_images_are_held_out_for_both_algebras_and_no_accuracy_ends_a_point():
    real, quaternion = bases(level=2)
    assert replace(quaternion, model=real.model) == real
    assert (real.data.validation, real.stop.accuracy, real.stop.max_level, real.preset) == (100, 0, 2, "tiny-sweep")
    assert not real.finished([1.0, 1.0], 888)
    digits = presets.get("digits")
    assert sweep.base_of(digits).data.validation == 144
    early = presets.get("conv4-cifar10-early-stopping")
    assert sweep.base_of(early).data.validation == 5000


def test_the_best_is_chosen_by_held_out_images_and_each_algebra_has_its_own(tmp_path):
    space = {"train.learning_rate": RATES, "prune.fraction": (0.5,)}
    run = FakeRun(tmp_path, trials=2)
    found = sweep.run_grid(bases(level=1), space, trials=2, out=tmp_path, run=run)
    assert {algebra: len(outcomes) for algebra, outcomes in found.items()} == {"real": 4, "quaternion": 4}
    best = {algebra: sweep.ranked(outcomes)[0] for algebra, outcomes in found.items()}
    assert {algebra: each.settings["train.learning_rate"] for algebra, each in best.items()} == {
        "real": 3e-3,
        "quaternion": 1e-3,
    }
    assert best["real"].validation == (90.0, 91.0)  # of level 1, not of level 0
    assert (best["real"].mean, best["real"].std) == (90.5, pytest.approx(0.5**0.5))
    assert best["real"].test == (9.0, 8.0)  # the worst of all on the test set
    assert len(run.ran) == 2 * 2 * 4
    again = sweep.run_grid(bases(level=1), space, trials=2, out=tmp_path, run=run)
    assert again == found
    assert len(run.ran) == 2 * 2 * 4


def test_points_that_are_not_done_are_left_out_and_go_on(tmp_path):
    space = {"train.learning_rate": RATES}
    part = sweep.run_grid(bases(), space, trials=1, out=tmp_path, run=FakeRun(tmp_path, most=3))
    assert [len(outcomes) for outcomes in part.values()] == [2, 1]
    run = FakeRun(tmp_path)
    whole = sweep.run_grid(bases(), space, trials=1, out=tmp_path, run=run)
    assert [len(outcomes) for outcomes in whole.values()] == [4, 4]
    assert len(run.ran) == 5


def test_a_trial_that_fails_counts_as_nothing_right(tmp_path):
    found = sweep.run_grid(
        bases(), {"train.learning_rate": (1e-3, 3e-3)}, trials=1, out=tmp_path, run=FakeRun(tmp_path, fails=(1e-3,))
    )
    worst = sweep.ranked(found["quaternion"])[-1]
    assert (worst.settings, worst.validation, worst.num_failed, worst.test) == ({"train.learning_rate": 1e-3}, (0.0,), 1, ())


@pytest.mark.parametrize(
    ("metric", "best", "order"),
    [
        (TOP1, 30.0, [30.0, 20.0, 10.0, "failed"]),
        (Metric(name="rmse", higher_is_better=False), 10.0, [10.0, 20.0, 30.0, "failed"]),
        (Metric(name="wer", unit="%", higher_is_better=False), 10.0, [10.0, 20.0, 30.0, "failed"]),
        (Metric(name="r2"), 30.0, [30.0, 20.0, 10.0, "failed"]),
    ],
)
def test_better_is_what_the_metric_says_and_what_failed_comes_last(metric, best, order, capsys):
    def outcome(value):
        rate = 1e-3 if value == "failed" else value / 1000
        return sweep.Outcome(
            spec=sweep.at_point(bases()[0], {"train.learning_rate": rate}),
            settings={"train.learning_rate": rate},
            validation=(sweep.worst_of(metric),) if value == "failed" else (value, value),
            test=(),
            num_failed=int(value == "failed"),
            metric=metric,
        )

    found = [outcome(value) for value in (20.0, "failed", 30.0, 10.0)]
    means = ["failed" if each.num_failed else each.mean for each in sweep.ranked(found)]
    assert means == order
    tie = replace(outcome(best), spec=sweep.at_point(bases()[0], {"train.learning_rate": 0.5}))
    for outcomes, said in ((found, False), ([*found, tie], True)):
        print_result({"real": outcomes}, {"train.learning_rate": RATES}, len(outcomes))
        assert ("another setting is as good" in capsys.readouterr().out) == said


@pytest.mark.parametrize(
    ("rates", "edge"),
    [
        (RATES, {}),
        (RATES[:3], {"train.learning_rate": "largest"}),
        (RATES[2:], {"train.learning_rate": "smallest"}),
        (RATES[2:3], {}),
        ((2.9e-3, 3e-3, 1e-2), {}),  # near the smallest, which was tried as well
        (Range(low=1e-3, high=1e-2, log=True), {}),
        (Range(low=2.9e-3, high=1e-2, log=True), {"train.learning_rate": "smallest"}),
        (Range(low=1e-4, high=3.1e-3), {"train.learning_rate": "largest"}),
        (Range(low=1e-3, high=3.1e-3, log=True), {"train.learning_rate": "largest"}),
        (Range(low=1e-3, high=3.5e-3, log=True), {}),
    ],
)
def test_the_edge_is_told(rates, edge, tmp_path):
    found = sweep.run_grid(bases(), {"train.learning_rate": RATES}, trials=1, out=tmp_path, run=FakeRun(tmp_path))
    best = sweep.ranked(found["real"])[0]
    assert sweep.at_the_edge(best, {"train.learning_rate": rates, "prune.score": ("magnitude", "snip")}) == edge


def test_a_point_that_a_study_chose_twice_is_no_runner_up(tmp_path):
    found = sweep.run_grid(bases(), {"train.learning_rate": RATES}, trials=1, out=tmp_path, run=FakeRun(tmp_path))["real"]
    assert sweep.ranked([*found, *found]) == sweep.ranked(found)


def test_words_become_a_space():
    words = ["train.learning_rate=1e-4:1e-2:log", "train.epochs=1:3", "train.milestones=10+12,()", "data.crop=none,4"]
    assert sweep.parse_space(words) == {
        "train.learning_rate": Range(low=1e-4, high=1e-2, log=True),
        "train.epochs": Range(low=1, high=3),
        "train.milestones": ((10, 12), ()),
        "data.crop": (None, 4),
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train.epochs", r"`--set` \(='train\.epochs'\) must be a field and its values, such as "),
        ("train.epochs=", r"`--set` \(='train\.epochs='\) must be a field and its values"),
        ("train.epochs=1 train.epochs=2", r"`--set` names train\.epochs twice; give all its values at once, with commas"),
        ("train.epochs=1,,2", r"`train\.epochs` \(=''\) must be an integer"),
        ("train.rate=1,2", r"unknown field of a spec 'train\.rate'; did you mean .*train\.learning_rate"),
        (
            "prune.score=snip:grasp",
            r"`prune\.score` \(='snip:grasp'\) must be values parted by commas, as its values are not numbers",
        ),
        ("train.learning_rate=1:2:lin", r"`train\.learning_rate` \(='1:2:lin'\) must be low:high or low:high:log"),
        ("train.learning_rate=1:nan", r"`train\.learning_rate` \(='1:nan'\) must be low:high or low:high:log"),
        ("data.crop=none:4", r"`data\.crop` \(='none:4'\) must be low:high or low:high:log"),
        ("train.learning_rate=2:1", r"`train\.learning_rate` \(='2:1'\) must rise from low to high$"),
        ("train.weight_decay=0:1:log", r"`train\.weight_decay` \(='0:1:log'\) must rise from low to high, both above 0"),
    ],
)
def test_words_that_are_no_space_are_one_sentence(words, sentence):
    with pytest.raises(UserError, match=f"^{sentence}"):
        sweep.parse_space(words.split())


@pytest.mark.parametrize(
    ("words", "study", "sentence"),
    [
        (
            "train.learning_rate=1e-4:1e-2",
            False,
            r"`train\.learning_rate` is a range, from which a study chooses: add --optuna N",
        ),
        ("train.epochs=3", False, r"there is nothing to sweep: give a field more than one value"),
        ("train.epochs=3", True, r"there is nothing to sweep"),
        ("train.epochs=3,3", False, r"`train\.epochs` names a value twice"),
        ("train.learning_rate=1e-3,-1", False, r"`train\.learning_rate` \(=-1\.0\) must lie in \(0, 100\)"),
        ("train.learning_rate=1:200", True, r"`train\.learning_rate` \(=200\.0\) must lie in \(0, 100\)"),
        ("model.algebra=real,quaternion", False, r"`model\.algebra` must be left out of a sweep, which --algebra sets"),
        ("data.validation=10,20", False, r"`data\.validation` must be left out of a sweep, which --validation sets for all"),
        ("stop.max_level=1,2", False, r"`stop\.max_level` must be left out of a sweep, which --level sets"),
    ],
)
def test_spaces_that_cannot_be_swept_are_one_sentence(words, study, sentence):
    with pytest.raises(UserError, match=f"^{sentence}"):
        sweep.check_space(bases(), sweep.parse_space(words.split()), study=study)


@pytest.mark.parametrize("validation", [0, -1, 1437])
def test_images_must_be_held_out(validation):
    with pytest.raises(UserError, match=rf"`validation` \(={validation}\) must be at least 1 and below 1437"):
        sweep.base_of(tiny_spec(), validation=validation)
