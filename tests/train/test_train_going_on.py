"""Training in parts is training at once: from a step on, with the optimiser's averages, and with masks that change."""

import dataclasses
import math

import pytest
import torch
from small_runs import BATCH_SIZE, STEPS, masks_of, network, same, seed_of_epoch, splits, state
from torch import nn

from fourfold import nn as fnn
from fourfold.native import NoCompilerError
from fourfold.native.perceptron import kernels
from fourfold.record import TrainSpec
from fourfold.train import train
from fourfold.train.sparse_steps import SparseSteps
from fourfold.train.steps import Steps

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
    half = Steps(until, spec, fnn.named_weights(until), masks)
    for epoch in range(spec.epochs):
        until.train()
        for number, batch in enumerate(splits().train.epoch(BATCH_SIZE, seed_of_epoch(epoch)), epoch * STEPS):
            if number < first_step:
                half.learning_rate = spec.rate(number, epoch)
                half.take(*batch)
    assert same(state(until), caught)
    trained = train(
        until,
        splits(),
        spec,
        seed_of_epoch=seed_of_epoch,
        weights=fnn.named_weights(until),
        masks=masks,
        first_step=first_step,
        moments=half.moments(),
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
    batches = [batch for epoch in range(3) for batch in splits().train.epoch(BATCH_SIZE, seed_of_epoch(epoch))]

    def go(kinds):
        built, moments = perceptron(), None
        for kind, part in zip(kinds, (batches[:4], batches[4:8], batches[8:]), strict=True):
            weights = fnn.named_weights(built)
            steps = SparseSteps(built, spec, masks, moments) if kind else Steps(built, spec, weights, masks, moments)
            for batch in part:
                steps.take(*batch)
            steps.put_back()
            moments = steps.moments()
        return state(built), moments

    plain, averages = go((False, False, False))
    for kinds in ((True, True, True), (False, True, False), (True, False, True)):
        found, others = go(kinds)
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
    fresh = Steps(one, ADAM, {}, {})
    images, labels = next(iter(splits().train.epoch(BATCH_SIZE, 1)))
    fresh.take(images, labels)
    other = Steps(two, ADAM, {}, {}, fresh.moments())
    other.take(images, labels)
    assert not same(state(one), state(two))
    assert int(other.moments()["steps"]) == 2


def test_the_rate_of_every_step_is_the_schedules(monkeypatch):
    seen, take = [], Steps.take

    def look(steps, images, labels):
        seen.append(steps.learning_rate)
        return take(steps, images, labels)

    monkeypatch.setattr(Steps, "take", look)
    spec = dataclasses.replace(SGD, warmup_steps=2, cosine_steps=3, epochs=2)
    train(network(), splits(), spec, seed_of_epoch=seed_of_epoch)
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


@pytest.mark.parametrize("first_step", [-1, 16, 99])
def test_a_first_step_after_the_last_is_refused(first_step):
    with pytest.raises(ValueError, match=rf"`first_step` \(={first_step}\) must lie in \[0, 16\), the steps of the training"):
        train(network(), splits(), ADAM, seed_of_epoch=seed_of_epoch, first_step=first_step)
