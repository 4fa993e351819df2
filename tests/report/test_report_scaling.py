"""Smaller versions: the same densities, fewer of them, and a name that says so."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold import presets
from fourfold.record import UserError
from fourfold.report import Experiment
from fourfold.report.published import published_curves
from fourfold.report.scaling import check_scale, scale_of, scaled, scaled_trials, unscaled


def test_a_tenth_of_conv_4() -> None:
    whole = presets.get("conv4-cifar10", algebra="quaternion")
    small = scaled(whole, 0.1)
    assert (small.preset, small.train.epochs, scaled_trials(5, 0.1)) == ("conv4-cifar10-scale-0.1", 4, 2)
    assert small.prune.fraction == pytest.approx(1 - 0.8**3)
    assert small.id != whole.id
    assert (small.data, small.model, small.stop) == (whole.data, whole.model, whole.stop)
    assert scaled(small.real_twin, 1) == small.real_twin
    assert scaled(whole.real_twin, 0.1) == small.real_twin
    assert scaled(whole, 1) is whole


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(1, 999), st.sampled_from(sorted(presets.PRESETS)))
def test_scaled_densities_are_some_of_the_full_ones(thousandths: int, name: str) -> None:
    scale, whole = thousandths / 1000, presets.get(name)
    check_scale(scale)
    small = scaled(whole, scale)
    steps = math.log(1 - small.prune.fraction) / math.log(1 - whole.prune.fraction)
    assert steps == pytest.approx(round(steps), abs=1e-9)
    assert 1 - small.prune.fraction >= 0.45
    assert 1 <= small.train.epochs <= max(1, math.ceil(whole.train.epochs * scale))
    assert all(milestone < max(2, small.train.epochs) for milestone in small.train.milestones)
    assert (scale_of(small.preset), unscaled(small.preset)) == (scale, name)
    assert min(2, 5) <= scaled_trials(5, scale) <= 5
    assert scaled_trials(1, scale) == 1


def test_scaled_experiments_say_so_and_have_the_published_curves_behind_them() -> None:
    spec = scaled(presets.get("conv2-cifar10-early-stopping"), 0.25)
    curves = published_curves(spec.data.name, spec.model.name, spec.preset)
    assert curves == published_curves("cifar-10", "conv-2", "conv2-cifar10-early-stopping")
    assert curves != published_curves("cifar-10", "conv-2")
    one = Experiment(preset=spec.preset, dataset="cifar-10", model="conv-2", curves=(), published=curves, rows=())
    assert one.title == "Conv-2 on CIFAR-10, with early stopping, scaled to 0.25"
    assert replace(one, preset="conv2-cifar10-released").title == "Conv-2 on CIFAR-10, as the released code trains"
    assert (scale_of("conv2-cifar10"), unscaled("conv2-cifar10")) == (None, "conv2-cifar10")


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, 0.12345, float("nan")])
def test_a_scale_that_is_none_is_one_sentence(scale: float) -> None:
    with pytest.raises(
        UserError, match=r"^`--scale` \(=\S+\) must lie in \(0, 1\] and have at most three decimals, such as 0\.1$"
    ):
        check_scale(scale)
