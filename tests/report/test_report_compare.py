"""Where one curve overtakes another: against straight lines whose crossing is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import synthetic_runs as synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_runs import curve

from fourfold import presets
from fourfold.record import Spec
from fourfold.report._curves import Curve, curves
from fourfold.report._experiments import Experiment, experiments
from fourfold.report.compare import at_fraction, common_range, crossover, departures, flat, real_twin, smallest_within
from fourfold.report.runs import Run

# Real loses 20 points a decade from 90, quaternion 5 points a decade from 80: they meet at 10 ** (-2 / 3).
REAL = curve({10.0**-k: 90 - 20 * k for k in (0, 0.4, 1, 1.7, 2)})
QUATERNION = curve({10.0**-k: 80 - 5 * k for k in (0.5, 1.2, 2, 3)}, "quaternion")


def test_accuracy_at_a_fraction_is_linear_in_its_logarithm() -> None:
    estimate = at_fraction(REAL, 10**-1.35)
    assert estimate is not None
    assert estimate.top1 == pytest.approx(90 - 20 * 1.35)
    assert estimate.trials == 3
    last = at_fraction(REAL, 10**-1.9)
    assert last is not None
    assert last.trials == 2  # its right neighbour has one trial fewer
    exact = at_fraction(REAL, 0.1)
    assert exact is not None
    assert exact.top1 == pytest.approx(70)


def test_nothing_is_extrapolated_but_an_end_within_two_percent_counts() -> None:
    assert at_fraction(QUATERNION, 10**-0.4) is None
    assert at_fraction(QUATERNION, 0.0009) is None
    near = at_fraction(QUATERNION, 10**-0.5 * 1.019)
    assert near is not None
    assert near.top1 == pytest.approx(77.5)
    assert at_fraction(QUATERNION, 10**-0.5 * 1.021) is None


def test_the_crossover_is_where_the_lines_meet() -> None:
    found = crossover(QUATERNION, REAL)
    assert found is not None
    assert found.fraction == pytest.approx(10 ** (-2 / 3))
    assert (found.from_start, found.behind_again) == (False, None)
    assert found.end == pytest.approx(0.01)
    assert common_range(QUATERNION, REAL) == pytest.approx((10**-0.5, 0.01))


def test_ahead_from_the_start_never_ahead_and_no_common_range() -> None:
    better, worse = (curve({0.2: 90 + sign, 0.02: 60 + sign}, "quaternion") for sign in (1, -1))
    real = curve({1.0: 95, 0.2: 90, 0.02: 60})
    ahead = crossover(better, real)
    assert ahead is not None
    assert (ahead.from_start, ahead.fraction) == (True, 0.2)
    assert crossover(worse, real) is None
    assert crossover(real, real) is None
    apart = curve({0.001: 50, 0.0001: 40}, "quaternion")
    assert (crossover(apart, real), common_range(apart, real)) == (None, None)


def test_a_lead_that_is_lost_again_is_said() -> None:
    real = curve({1.0: 80, 0.1: 70, 0.01: 60, 0.001: 50})
    quaternion = curve({0.25: 70, 0.1: 72, 0.01: 58, 0.001: 51}, "quaternion")
    found = crossover(quaternion, real)
    assert found is not None
    assert found.behind_again == pytest.approx(10**-1.5)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.floats(10, 90), min_size=4, max_size=8), st.lists(st.floats(10, 90), min_size=4, max_size=8))
def test_the_crossover_agrees_with_a_fine_grid(ours: list[float], theirs: list[float]) -> None:
    one = curve({0.25 * 0.8**k: value for k, value in enumerate(ours)}, "quaternion")
    real = curve({0.5 * 0.7**k: value for k, value in enumerate(theirs)})
    both = common_range(one, real)
    assert both is not None
    grid = np.geomspace(both[0], both[1], 4001)

    def line(of: Curve) -> np.ndarray:
        x = np.log([point.fraction_of_real for point in of.points])[::-1]
        return np.interp(np.log(grid), x, [point.top1.mean for point in of.points][::-1])

    ahead = line(one) - line(real)
    found = crossover(one, real)
    first = next((i for i, value in enumerate(ahead) if value > 1e-6), None)
    if found is None:
        assert first is None
    elif first is not None:
        assert grid[first] <= found.fraction * 1.0001
        assert all(ahead[i] <= 1e-6 for i in range(first))
        assert math.log(found.fraction / grid[first]) < 0.4  # at most one stretch between two measured points
        at = np.interp(np.log(found.fraction), np.log(grid[::-1]), ahead[::-1])
        assert found.from_start or abs(at) < 0.2


def test_the_smallest_fraction_within_a_point_is_a_measured_one() -> None:
    within = smallest_within(curve({1.0: 90, 0.5: 89.2, 0.25: 88.9, 0.1: 89.0, 0.05: 80}), 90)
    assert within is not None
    assert within.fraction_of_real == 0.1
    assert smallest_within(QUATERNION, 90) is None


def test_the_twin_is_found_by_spec_and_a_choice_is_never_guessed() -> None:
    real, fast = synthetic.spec("real"), synthetic.spec("real", learning_rate=1e-2)
    quaternion = synthetic.spec("quaternion", learning_rate=1e-2)
    rows = tuple(synthetic.row(spec, 0, level) for spec in (real, fast, quaternion) for level in range(2))
    found = curves(rows)
    specs = {spec.id: spec for spec in (real, fast, quaternion)}
    known = Experiment(preset="p", dataset="d", model="m", curves=found, published=(), rows=rows, specs=specs)
    unknown = Experiment(preset="p", dataset="d", model="m", curves=found, published=(), rows=rows)
    ours = next(one for one in found if one.algebra == "quaternion")
    twin = real_twin(ours, known)
    assert twin is not None
    assert twin.run == fast.id
    assert real_twin(ours, unknown) is None
    assert real_twin(twin, known) is None
    only = tuple(one for one in found if one.run != fast.id)
    left = real_twin(ours, Experiment(preset="p", dataset="d", model="m", curves=only, published=(), rows=rows))
    assert left is not None
    assert left.run == real.id


@pytest.mark.parametrize(
    ("change", "held"), [({"learning_rate": 1e-2}, True), ({"epochs": 7}, False), ({"precision": "bf16"}, False)]
)
def test_the_only_real_network_is_no_twin_of_one_that_was_trained_longer_or_otherwise(change: dict, held: bool) -> None:
    real = synthetic.spec("real")
    quaternion = synthetic.spec("quaternion", **change)
    rows = tuple(synthetic.row(spec, 0, level) for spec in (real, quaternion) for level in range(2))
    found = curves(rows)
    specs = {spec.id: spec for spec in (real, quaternion)}
    experiment = Experiment(preset="p", dataset="d", model="m", curves=found, published=(), rows=rows, specs=specs)
    ours = next(one for one in found if one.algebra == "quaternion")
    assert (real_twin(ours, experiment) is not None) == held


def test_a_spec_is_flattened_with_dotted_names() -> None:
    fields = flat(synthetic.spec("quaternion"))
    assert (fields["preset"], fields["model.algebra"], fields["train.early_stopping"]) == ("conv4-cifar10", "quaternion", None)


def test_what_runs_change_of_their_preset_is_told() -> None:
    def experiment(*specs: Spec) -> Experiment:
        (found,) = experiments(Run(id=spec.id, spec=spec, rows=(), failures={}) for spec in specs)
        return found

    specs = [presets.get("conv2-cifar10", algebra=algebra) for algebra in ("real", "quaternion")]
    assert departures(experiment(*specs)) == []
    short = [replace(spec, train=replace(spec.train, epochs=2)) for spec in specs]
    assert departures(experiment(*short)) == ["train.epochs 2 (not 40)"]
    coarse = replace(short[1], prune=replace(short[1].prune, fraction=0.5), stop=replace(short[1].stop, max_level=3))
    assert departures(experiment(short[0], replace(coarse, train=replace(coarse.train, epochs=3)))) == [
        "train.epochs 2 and 3 (not 40)",
        "prune.fraction 0.5 (not 0.2)",
        "stop.max_level 3 (not None)",
    ]
    assert departures(experiment(replace(short[0], preset="mine"))) == []
