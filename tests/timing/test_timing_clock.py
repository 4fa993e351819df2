"""The clock: its arithmetic with known step times, and one real probe."""

import dataclasses

import pytest
import torch

from fourfold import presets
from fourfold.record import Spec
from fourfold.timing import clock as room
from fourfold.timing.clock import Clock

CPU = torch.device("cpu")


class Linear(Clock):
    """A step costs 2 ms and 1 ms an image, times its density."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.densities: set[float] = set()

    def _step_seconds(self, spec: Spec, batch_size: int, density: float) -> float:
        self.densities.add(density)
        return density * (2e-3 + 1e-3 * batch_size)


@pytest.fixture
def clock() -> Clock:
    return Linear(CPU)


def test_a_level_is_its_epochs_and_steps(clock: Clock) -> None:
    spec = presets.get("lenet-300-100-mnist")
    dense = 40 * 1000 * (2e-3 + 60e-3)
    assert clock.level_seconds(spec) == pytest.approx(dense)
    assert clock.level_seconds(spec, 0.1) == pytest.approx(0.1 * dense)
    between = clock.level_seconds(spec, 0.5**0.5)
    assert between == pytest.approx(0.75 * dense)  # linear in the logarithm of the density
    assert clock.level_seconds(spec, 0.001) == pytest.approx(0.02 * dense)


@pytest.mark.slow
def test_large_networks_are_extrapolated_from_small_batches(clock: Clock) -> None:
    spec = presets.get("resnet18-cifar10", algebra="quaternion")
    expected = 80 * 391 * (2e-3 + 128e-3)
    assert clock.level_seconds(spec) == pytest.approx(expected)
    assert clock.level_seconds(spec, 0.1) == clock.level_seconds(spec)  # it costs as much when it is pruned


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


@pytest.mark.parametrize(("schedule", "engine"), [("iterative", "native"), ("gradual", "eager")])
def test_the_engine_is_that_of_the_schedule(schedule: str, engine: str) -> None:
    spec = presets.get("digits", algebra="quaternion")
    spec = dataclasses.replace(spec, prune=dataclasses.replace(spec.prune, schedule=schedule))
    clock = Clock(CPU)
    assert clock.engine(spec) is None
    clock.level_seconds(spec)
    assert clock.engine(spec) == engine


def test_a_second_network_takes_as_long_again(clock: Clock) -> None:
    text, released = (presets.get("conv2-cifar10", protocol=name) for name in ("text", "released"))
    assert clock.level_seconds(released) == 2 * clock.level_seconds(text)


@pytest.mark.parametrize(("preset", "timed"), [("digits", {1.0, 0.5, 0.1, 0.02}), ("digits-resnet8", {1.0})])
def test_only_perceptrons_are_timed_at_every_density(preset: str, timed: set[float]) -> None:
    clock = Linear(CPU)
    clock.level_seconds(presets.get(preset), 0.3)
    assert clock.densities == timed
