"""The plan before a run: how much, how long, where; and it writes nothing."""

import math
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from fourfold import presets, timing
from fourfold.cli.plan import print_plan
from fourfold.lottery.controls import run_controls
from fourfold.record import RunStore, StopSpec
from fourfold.timing import planning
from fourfold.timing.clock import Clock
from lottery_samples import BOTH, files, prepared, run_alone, tiny_spec

CPU = torch.device("cpu")


class SecondAStep(Clock):
    """Steps of a second, times the density."""

    def level_seconds(self, spec, density=1.0):
        return density * spec.train.epochs * self._epoch_seconds(spec, 1.0)

    def _step_seconds(self, spec, batch_size, density):
        return 1.0


class PerImage(Clock):
    """A second an image, times the density."""

    def _step_seconds(self, spec, batch_size, density):
        return batch_size * density


class ByPrecision(Clock):
    """Levels of so many seconds in each precision."""

    def __init__(self, in_float32, in_bf16):
        super().__init__(CPU)
        self.in_float32, self.in_bf16 = in_float32, in_bf16

    def level_seconds(self, spec, density=1.0):
        return self.in_bf16 if spec.train.precision == "bf16" else self.in_float32


def test_a_plan_says_sizes_levels_time_and_place(tmp_path):
    real, quaternion = timing.plan(
        [tiny_spec(algebra, epochs=7) for algebra in BOTH], trials=3, out=tmp_path / "runs", device=CPU, clock=SecondAStep(CPU)
    )
    assert (real.sizes.weights, quaternion.sizes.weights) == (888, 312)
    assert quaternion.sizes_real == real.sizes
    for plan, algebra in ((real, "real"), (quaternion, "quaternion")):
        assert plan.spec == tiny_spec(algebra, epochs=7)
        assert (plan.levels, plan.levels_done) == (5, 0)
        assert plan.level_seconds == 7 * 24
        assert plan.seconds == 3 * 7 * 24 * (1 + 1 / 2 + 1 / 4 + 1 / 8 + 1 / 16)
        assert plan.folder == tmp_path / "runs" / plan.spec.id
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_is_not_planned_again(tmp_path):
    spec = tiny_spec()
    store = run_alone(spec, tmp_path)
    for row in store.rows(0)[:2]:
        store.append(replace(row, trial=1))
    before = files(tmp_path)
    (plan,) = timing.plan([spec], trials=3, out=tmp_path, device=CPU, clock=SecondAStep(CPU))
    assert plan.levels_done == 5 + 2
    rest = 1 / 4 + 1 / 8 + 1 / 16
    assert plan.seconds == 24 * (0 + rest + (1 + 1 / 2 + rest))
    assert files(tmp_path) == before


def test_levels_that_accuracy_ends_are_guessed_at_two_percent_of_real(tmp_path):
    for algebra in BOTH:
        spec = presets.get("conv4-cifar10", algebra=algebra)
        (plan,) = timing.plan([spec], trials=1, out=tmp_path, device=CPU, clock=SecondAStep(CPU))
        left = 0.8 ** (plan.levels - 1) * plan.sizes.parameters / plan.sizes_real.parameters
        assert 0.8 * 0.02 <= left <= 0.02
        bounded = replace(spec, stop=StopSpec(max_level=2))
        assert timing.plan([bounded], trials=1, out=tmp_path, device=CPU, clock=SecondAStep(CPU))[0].levels == 3


def test_validation_images_are_not_trained_on(tmp_path):
    spec = presets.get("lenet-300-100-mnist-early-stopping")
    (plan,) = timing.plan([spec], trials=1, out=tmp_path, device=CPU, clock=SecondAStep(CPU))
    assert plan.level_seconds == 40 * math.ceil(55_000 / 60)


def test_a_step_is_timed_on_this_machine(tmp_path):
    threads = torch.get_num_threads()
    (plan,) = timing.plan([tiny_spec()], trials=1, out=tmp_path, device=CPU)
    assert 24 * 1e-6 < plan.level_seconds < 24 * 1.0
    assert torch.get_num_threads() == threads


def test_planning_reads_a_run_that_another_spec_left(tmp_path):
    store = RunStore.create(tmp_path, tiny_spec())
    before = files(tmp_path)
    (plan,) = timing.plan([tiny_spec(epochs=2)], trials=1, out=tmp_path, device=CPU, clock=SecondAStep(CPU))
    assert plan.folder != store.path
    assert files(tmp_path) == before


def test_controls_that_are_left_are_in_the_plan(tmp_path):
    (plan,) = timing.plan(
        [tiny_spec("real")],
        trials=2,
        out=tmp_path,
        device=CPU,
        clock=SecondAStep(CPU),
        controls=["inverted"],
        control_levels=[1, 3],
    )
    assert plan.control_seconds == 2 * 24 * (1 / 2 + 1 / 8)
    names = ["random-init", "small-dense", "equal-macs"]
    options = {
        "trials": 1,
        "out": tmp_path,
        "device": CPU,
        "clock": SecondAStep(CPU),
        "controls": names,
        "control_levels": [2, 9],
    }
    real, quaternion = timing.plan([tiny_spec(algebra) for algebra in BOTH], **options)
    assert real.control_seconds == 2 * 24 / 4
    assert quaternion.control_seconds == real.control_seconds + 24 * (1 + 1 / 2 + 1 / 4)  # equal MACs need the levels before
    store = run_alone(tiny_spec(), tmp_path)
    run_controls(prepared(tiny_spec()), store, 0, ["inverted"], [1])
    (plan,) = timing.plan([tiny_spec()], trials=1, out=tmp_path, device=CPU, clock=SecondAStep(CPU), controls=["inverted"])
    assert plan.control_seconds == 24 * (1 / 4 + 1 / 8 + 1 / 16)  # of level 0 it is the ticket


def test_a_narrow_network_takes_less_time_where_masks_save_none():
    clock, perceptron, convolutions = PerImage(CPU), tiny_spec(), presets.get("conv4-cifar10")
    assert clock.narrow_seconds(perceptron, 0.1) == clock.level_seconds(perceptron, 0.1) < clock.level_seconds(perceptron)
    assert clock.level_seconds(convolutions, 0.1) == clock.level_seconds(convolutions)
    assert clock.narrow_seconds(convolutions, 0.1) == pytest.approx(0.1 * clock.level_seconds(convolutions))


@pytest.mark.parametrize(
    ("preset", "multiplies", "in_float32", "in_bf16", "precision", "said"),
    [
        ("conv4-cifar10", True, 2000.0, 900.0, None, 900.0),
        ("conv4-cifar10", False, 2000.0, 900.0, None, None),
        ("conv4-cifar10", True, 2000.0, 2100.0, None, None),
        ("conv4-cifar10", True, 20.0, 9.0, None, None),  # too short to be timed twice
        ("conv4-cifar10", True, 2000.0, 900.0, "bf16", None),
        ("lenet-300-100-mnist", True, 2000.0, 900.0, None, None),
    ],
)
def test_a_plan_says_what_bf16_would_save(
    preset, multiplies, in_float32, in_bf16, precision, said, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(planning, "multiplies_bf16", lambda device: multiplies)
    spec = presets.get(preset)
    spec = replace(spec, train=replace(spec.train, precision=precision))
    plans = timing.plan([spec], trials=1, out=tmp_path, device=CPU, clock=ByPrecision(in_float32, in_bf16))
    assert plans[0].bf16_level_seconds == said
    print_plan(Console(width=200), plans, ["real"], trials=1, workers=1)
    assert ("--precision bf16 would take 0.45 of that" in capsys.readouterr().out) == (said is not None)
