"""Forecasts: their arithmetic with known step times, and one real probe."""

import dataclasses
from pathlib import Path

import pytest
import synthetic_runs as synthetic
import torch

from fourfold.lottery import presets
from fourfold.record import RunStore, Spec
from fourfold.report import forecast as room
from fourfold.report.forecast import Clock, figure_levels, forecast

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A step costs 2 ms and 1 ms an image, times its density."""
    monkeypatch.setattr(Clock, "_step_seconds", lambda self, spec, size, density: density * (2e-3 + 1e-3 * size))
    return Clock(CPU)


def test_a_level_is_its_epochs_and_steps(clock: Clock) -> None:
    spec = presets.get("lenet-300-100-mnist")
    dense = 40 * 1000 * (2e-3 + 60e-3)
    assert clock.level_seconds(spec) == pytest.approx(dense)
    assert clock.level_seconds(spec, 0.1) == pytest.approx(0.1 * dense)
    between = clock.level_seconds(spec, 0.5**0.5)
    assert between == pytest.approx(0.75 * dense)  # linear in the logarithm of the density
    assert clock.level_seconds(spec, 0.001) == pytest.approx(0.02 * dense)


def test_large_networks_are_extrapolated_from_small_batches(clock: Clock) -> None:
    spec = presets.get("resnet18-cifar10", algebra="quaternion")
    expected = 80 * 50_000 / 128 * (2e-3 + 128e-3)
    assert clock.level_seconds(spec) == pytest.approx(expected)
    assert clock.level_seconds(spec, 0.1) == clock.level_seconds(spec)  # it costs as much when it is pruned


def test_levels_are_planned_to_the_published_end_or_to_2_percent() -> None:
    quaternion = presets.get("conv2-cifar10", algebra="quaternion")
    assert figure_levels(quaternion) == 21  # as many as the published curve has
    assert figure_levels(presets.get("conv6-cifar100")) == 19  # 0.8 ** 18 is the first below 2 %
    bounded = dataclasses.replace(quaternion, stop=dataclasses.replace(quaternion.stop, max_level=0))
    assert figure_levels(bounded) == 1


def test_what_is_on_disk_is_not_counted_again(clock: Clock, tmp_path: Path) -> None:
    def of(algebra: str) -> Spec:
        spec = presets.get("conv4-cifar10", algebra=algebra)
        return dataclasses.replace(spec, stop=dataclasses.replace(spec.stop, max_level=3))

    specs = [of("real"), of("quaternion")]
    store = RunStore.create(tmp_path, specs[0])
    for trial, levels in ((0, 4), (1, 1)):
        for level in range(levels):
            store.append(synthetic.row(specs[0], trial, level))
    found = forecast(specs, trials=2, out=tmp_path, clock=clock, workers=2)
    one = clock.level_seconds(specs[0])
    assert (found.levels_done, found.levels) == (5, 3 + 8)
    assert found.seconds == pytest.approx(11 * one / 2)
    assert forecast(specs, trials=2, out=tmp_path / "empty", clock=clock, workers=99).seconds == pytest.approx(16 * one / 4)


def test_a_network_is_timed_once_by_training_it(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    train = room.train

    def counting(*arguments: object, **named: object) -> object:
        trained.append(arguments)
        return train(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "train", counting)
    clock, spec = Clock(CPU), presets.get("digits", algebra="quaternion")
    seconds = clock.level_seconds(spec, 0.2)
    assert 0 < seconds < 3600
    assert clock.level_seconds(dataclasses.replace(spec, preset="other"), 0.2) == seconds
    assert len(trained) == len(room.DENSITIES)
