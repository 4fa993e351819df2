"""Training in parts is training at once: from a step on, with the optimiser's averages, and with masks that change."""

import dataclasses
import math

import pytest
import torch
from small_runs import BATCH_SIZE, STEPS, masks_of, network, same, seed_of_epoch, setup, splits, state
from torch import nn

from fourfold import nn as fnn
from fourfold.native import NoCompilerError
from fourfold.native.perceptron import kernels
from fourfold.record import TrainSpec
from fourfold.train import train
from fourfold.train.engines import Eager, Native

ADAM = TrainSpec(optimizer="adam", learning_rate=3e-3, batch_size=BATCH_SIZE, epochs=4, weight_decay=1e-2)
SGD = TrainSpec(optimizer="sgd", learning_rate=0.05, batch_size=BATCH_SIZE, epochs=4, momentum=0.9, nesterov=True)
SPECS = {"adam": ADAM, "sgd": SGD, "cosine": dataclasses.replace(SGD, warmup_steps=3, cosine_steps=5)}


def perceptron() -> nn.Sequential:
    built = nn.Sequential(nn.Flatten(), fnn.Linear(64, 16, algebra="quaternion"), nn.ReLU(), nn.Linear(16, 10))
    fnn.initialize(built, generator=torch.Generator().manual_seed(0))
    return built


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("first_step", [STEPS, 2 * STEPS + 1, 3 * STEPS + 3])
def test_the_rest_of_a_training_gives_the_bits_of_the_whole(spec, first_step):
    whole, masks, caught = network(), masks_of(network()), {}
    weights = fnn.named_weights(whole)

    def look(step):
        if step == first_step:
            caught.update(state(whole))

    train(whole, splits(), spec, seed_of_epoch=seed_of_epoch, weights=weights, masks=masks, on_step=look)
    until = network()
    half = Eager(setup(until, spec, masks))
    for epoch in range(spec.epochs):
        until.train()
        for number, batch in enumerate(splits().train.epoch(BATCH_SIZE, seed_of_epoch(epoch)), epoch * STEPS):
            if number < first_step:
                half.take(*batch, spec.rate(number, epoch))
    assert same(state(until), caught)
    trained = train(
        until,
        splits(),
        spec,
        seed_of_epoch=seed_of_epoch,
        weights=fnn.named_weights(until),
        masks=masks,
        first_step=first_step,
        moments=half.optimizer_state(),
    )
    assert same(state(until), state(whole))
    assert trained.steps == spec.epochs * STEPS - first_step
    assert [epoch.epoch for epoch in trained.epochs] == list(range(first_step // STEPS + 1, spec.epochs + 1))
    assert int(trained.moments["steps"]) == spec.epochs * STEPS


@pytest.mark.parametrize("spec", [ADAM, SGD], ids=["adam", "sgd"])
def test_averages_pass_from_plain_steps_to_native_ones_and_back(spec):
    try:
        kernels()
    except NoCompilerError:
        pytest.skip("no compiler")
    masks = masks_of(perceptron(), 0.4)
    rates = torch.full((STEPS,), spec.learning_rate, dtype=torch.float64)

    def go(engines):
        built, averages = perceptron(), None
        for number, kind in enumerate(engines):
            engine = kind(setup(built, spec, masks, optimizer_state=averages))
            engine.begin(seed_of_epoch(number), rates)
            engine.advance(STEPS)
            engine.sync()
            averages = engine.optimizer_state()
        return state(built), averages

    plain, averages = go((Eager, Eager, Eager))
    for engines in ((Native, Native, Native), (Eager, Native, Eager), (Native, Eager, Native)):
        found, others = go(engines)
        for name, value in plain.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
        assert others.keys() == averages.keys()
        assert int(others["steps"]) == 12
        for name, value in averages.items():
            mask = masks.get(name.rpartition(".")[0])
            if mask is not None:  # those of pruned weights mean nothing
                torch.testing.assert_close(others[name][mask], value[mask], rtol=1e-3, atol=1e-5)


def test_steps_without_averages_start_afresh():
    one, two = network(), network()
    fresh = Eager(setup(one, ADAM))
    batch = next(iter(splits().train.epoch(BATCH_SIZE, 1)))
    fresh.take(*batch, 1e-3)
    other = Eager(setup(two, ADAM, optimizer_state=fresh.optimizer_state()))
    other.take(*batch, 1e-3)
    assert not same(state(one), state(two))
    assert int(other.optimizer_state()["steps"]) == 2


def test_the_rate_of_every_step_is_the_schedules():
    seen = []

    class Looking(Eager):
        def take(self, inputs, targets, rate):
            seen.append(rate)
            return super().take(inputs, targets, rate)

    spec = dataclasses.replace(SGD, warmup_steps=2, cosine_steps=3, epochs=2)
    train(network(), splits(), spec, seed_of_epoch=seed_of_epoch, engines=(Looking,))
    expected = [0, 0.025] + [0.025 * (1 + math.cos(math.pi * i / 3)) for i in range(6)]
    assert seen == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("build", [network, perceptron], ids=["convolutions", "perceptron"])
@pytest.mark.parametrize("first_step", [0, 3])
def test_masks_given_while_training_hold_from_then_on(build, first_step):
    built, looks = build(), []
    weights, masks = fnn.named_weights(built), masks_of(build())

    def prune(step):
        looks.append((step, {name: bool(weight[~masks[name]].any()) for name, weight in weights.items()}))
        return masks if step == 5 else None

    whole = {name: torch.ones_like(mask) for name, mask in masks.items()}
    trained = train(
        built, splits(), ADAM, seed_of_epoch=seed_of_epoch, weights=weights, masks=whole, first_step=first_step, on_step=prune
    )
    assert [step for step, _ in looks] == list(range(first_step + 1, 4 * STEPS + 1))
    assert all(any(left.values()) == (step <= 5) for step, left in looks)
    assert trained.compiler is None
    assert not any(bool(weight[~masks[name]].any()) for name, weight in weights.items())


@pytest.mark.parametrize("build", [network, perceptron], ids=["eager", "native"])
@pytest.mark.parametrize("until_step", [0, 1, STEPS, 2 * STEPS + 3, 4 * STEPS])
def test_a_training_to_a_step_and_from_there_on_gives_the_bits_of_the_whole(build, until_step):
    masks = masks_of(build())

    def go(built, **named):
        weights = fnn.named_weights(built)
        return train(built, splits(), ADAM, seed_of_epoch=seed_of_epoch, weights=weights, masks=masks, **named)

    whole, parted = build(), build()
    expected = go(whole)
    first = go(parted, until_step=until_step)
    assert first.steps == int(first.moments["steps"]) == until_step
    assert first.epochs == expected.epochs[: until_step // STEPS]  # of whole epochs
    assert not any(bool(weight[~masks[name]].any()) for name, weight in fnn.named_weights(parted).items())
    if until_step < 4 * STEPS:
        rest = go(parted, first_step=until_step, moments=first.moments if until_step else None)
        assert rest.steps == 4 * STEPS - until_step
        assert rest.test == expected.test
    assert same(state(parted), state(whole))


@pytest.mark.parametrize(("first_step", "until_step"), [(0, -1), (0, 17), (5, 4)])
def test_a_last_step_outside_the_training_is_refused(first_step, until_step):
    with pytest.raises(ValueError, match=rf"`until_step` \(={until_step}\) must lie in \[{first_step}, 16\]"):
        train(network(), splits(), ADAM, seed_of_epoch=seed_of_epoch, first_step=first_step, until_step=until_step)


@pytest.mark.parametrize("first_step", [-1, 16, 99])
def test_a_first_step_after_the_last_is_refused(first_step):
    with pytest.raises(ValueError, match=rf"`first_step` \(={first_step}\) must lie in \[0, 16\), the steps of the training"):
        train(network(), splits(), ADAM, seed_of_epoch=seed_of_epoch, first_step=first_step)
