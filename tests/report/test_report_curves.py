"""Curves against numpy's mean and standard deviation, row by row."""

import dataclasses
import math
import statistics

import numpy as np
import pytest
import synthetic_runs as synthetic
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.record import CONTROLS, Row, UserError
from fourfold.report import Experiment, Stat, curves, experiments_of_rows
from fourfold.report._style import CONTROL_LOOKS, style

REAL, QUATERNION = synthetic.spec("real"), synthetic.spec("quaternion")
ROWS = [synthetic.row(spec, trial, level) for spec in (REAL, QUATERNION) for trial in range(3) for level in range(5)]


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=9))
def test_a_stat_is_the_mean_and_the_sample_standard_deviation(values: list[float]) -> None:
    stat = Stat.of(values)
    assert stat.n == len(values)
    assert math.isclose(stat.mean, statistics.fmean(values), abs_tol=1e-9)
    if len(values) == 1:
        assert stat.std is None
    else:
        assert stat.std is not None
        assert math.isclose(stat.std, statistics.stdev(values), abs_tol=1e-6)


def test_every_point_is_the_mean_over_its_trials() -> None:
    real, quaternion = curves(reversed(ROWS))
    assert [curve.label for curve in (real, quaternion)] == ["Real", "Quaternion"]
    for curve, spec in ((real, REAL), (quaternion, QUATERNION)):
        assert [point.level for point in curve.points] == [0, 1, 2, 3, 4]
        for point in curve.points:
            rows = [row for row in ROWS if (row.run, row.level) == (spec.id, point.level)]
            assert point.top1.mean == pytest.approx(np.mean([row.top1 for row in rows]))
            assert point.top1.std == pytest.approx(np.std([row.top1 for row in rows], ddof=1))
            assert point.loss.mean == pytest.approx(np.mean([row.loss for row in rows]))
            assert point.top5 is None
            for name in ("density", "fraction_of_real", "weights", "macs", "stored_bytes"):
                assert getattr(point, name) == pytest.approx(np.mean([getattr(row, name) for row in rows]))
            assert point.full
        assert curve.parameters_real == ROWS[0].parameters_real


def test_top5_is_over_the_trials_that_have_it() -> None:
    rows = [dataclasses.replace(row, top5=90.0 + row.trial) for row in ROWS if row.run == REAL.id]
    top5 = curves(rows)[0].points[0].top5
    assert top5 is not None
    assert (top5.mean, top5.std, top5.n) == (91.0, 1.0, 3)


def test_trials_that_ended_earlier_are_counted_and_marked() -> None:
    rows = [row for row in ROWS if row.run == REAL.id and (row.trial < 2 or row.level < 3)]
    (curve,) = curves(rows)
    assert [point.top1.n for point in curve.points] == [3, 3, 3, 2, 2]
    assert [point.full for point in curve.points] == [True, True, True, False, False]
    assert (curve.most_trials, curve.trials) == (3, (0, 1, 2))


def test_variants_of_one_preset_and_algebra_stay_apart_and_are_labelled_by_id() -> None:
    other = synthetic.spec("quaternion", learning_rate=1e-3)
    rows = [*ROWS, *(synthetic.row(other, trial, level) for trial in range(3) for level in range(5))]
    found = curves(rows)
    labels = {curve.run: curve.label for curve in found}
    assert len(found) == 3
    assert labels[REAL.id] == "Real"
    assert {labels[QUATERNION.id], labels[other.id]} == {
        f"Quaternion ({QUATERNION.id[-8:]})",
        f"Quaternion ({other.id[-8:]})",
    }
    assert all(point.top1.n == 3 for curve in found for point in curve.points)
    assert sorted(curve.variant for curve in found if curve.algebra == "quaternion") == [0, 1]


def test_controls_are_curves_of_their_own_after_the_tickets() -> None:
    control = [synthetic.row(QUATERNION, trial, 2, control="random-mask") for trial in range(3)]
    found = curves([*control, *ROWS])
    assert [(curve.label, curve.control) for curve in found] == [
        ("Real", "ticket"),
        ("Quaternion", "ticket"),
        ("Quaternion, random mask", "random-mask"),
    ]
    assert found[2].dense is None


def test_a_level_that_is_there_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"level 1 of run .* is there twice for one trial"):
        curves([*ROWS, ROWS[1]])


def test_training_curves_are_means_over_the_trials_that_trained_that_long() -> None:
    def shorter(row: Row) -> Row:
        return dataclasses.replace(row, epochs=row.epochs[:7]) if row.trial == 2 else row

    rows = [shorter(row) for row in ROWS if row.run == QUATERNION.id]
    training = curves(rows)[0].training[3]
    assert training.level == 3
    assert training.epochs == tuple(range(1, 13))
    for index, stat in enumerate(training.top1):
        values = [row.epochs[index].top1 for row in rows if row.level == 3 and index < len(row.epochs)]
        assert (stat.n, len(values)) == ((3, 3) if index < 7 else (2, 2))
        assert stat.mean == pytest.approx(np.mean(values))
        assert stat.std == pytest.approx(np.std(values, ddof=1))


def test_layers_are_mean_densities_level_by_level() -> None:
    def halved(row: Row) -> Row:
        layers = {name: (kept // 2, total) if row.trial == 0 else (kept, total) for name, (kept, total) in row.layers.items()}
        return dataclasses.replace(row, layers=layers)

    rows = [halved(row) for row in ROWS if row.run == REAL.id]
    (curve,) = curves(rows)
    assert list(curve.layers) == list(synthetic.LAYERS)
    for name, densities in curve.layers.items():
        for level, density in enumerate(densities):
            ratios = [row.layers[name][0] / row.layers[name][1] for row in rows if row.level == level]
            assert density == pytest.approx(np.mean(ratios))


def test_experiments_are_one_a_preset_with_the_published_curves_of_their_network() -> None:
    other = synthetic.spec("real", preset="a-preset")
    first, second = experiments_of_rows([*ROWS, synthetic.row(other, 0, 0)])
    assert (first.preset, second.preset) == ("a-preset", "conv4-cifar10")
    assert isinstance(second, Experiment)
    assert second.title == "Conv-4 on CIFAR-10"
    assert [curve.algebra for curve in second.published] == ["real", "quaternion"]


def test_every_control_has_a_look() -> None:
    assert set(CONTROL_LOOKS) == set(CONTROLS)


@pytest.mark.parametrize("algebra", ["real", "quaternion", "phm"])
def test_a_ticket_and_its_controls_look_different(algebra: str) -> None:
    spec = synthetic.spec(algebra)
    controls = ("ticket", *CONTROL_LOOKS)
    found = curves([synthetic.row(spec, 0, level, control=control) for control in controls for level in (1, 2)])
    for light in (True, False):
        looks = {(style(curve).light if light else style(curve).dark, style(curve).marker) for curve in found}
        assert len(looks) == len({colour for colour, _ in looks}) == len(controls)
    assert style(found[0]).dash == ()
    assert all(style(curve).dash for curve in found[1:])
