"""Forecasts: their arithmetic with known step times."""

import dataclasses
from pathlib import Path

import pytest
import synthetic_runs as synthetic
import torch

from fourfold import presets
from fourfold.record import RunStore, Spec
from fourfold.report._forecast import figure_levels, forecast
from fourfold.timing.clock import Clock

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A step costs 2 ms and 1 ms an image, times its density."""
    monkeypatch.setattr(Clock, "_step_seconds", lambda self, spec, size, density: density * (2e-3 + 1e-3 * size))
    return Clock(CPU)


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
