"""The training loop against plain PyTorch, bit for bit, and pruned weights that stay exactly zero."""

import dataclasses
import math

import pytest
import torch
from small_runs import BATCH_SIZE, STEPS, TRAIN_IMAGES, masks_of, network, plain_steps, same, seed_of_epoch, splits, state
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fourfold import nn as fnn
from fourfold.pruning import apply_, dense
from fourfold.record import TrainSpec
from fourfold.train import OutOfTimeError, TrainingFailedError, evaluate, train

ADAM = TrainSpec(optimizer="adam", learning_rate=3e-3, batch_size=BATCH_SIZE, epochs=3, weight_decay=1e-2)
SGD = TrainSpec(
    optimizer="sgd", learning_rate=0.1, batch_size=BATCH_SIZE, epochs=3, momentum=0.9, nesterov=True, weight_decay=1e-2
)
SPECS = {
    "adam": ADAM,
    "adam without decay": dataclasses.replace(ADAM, weight_decay=0.0),
    "sgd": SGD,
    "plain sgd": dataclasses.replace(SGD, momentum=0.0, nesterov=False, weight_decay=0.0, milestones=(1, 2)),
}


def plain_optimizer(built: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    if spec.optimizer == "adam":
        return torch.optim.Adam(built.parameters(), betas=(0.9, 0.999), weight_decay=spec.weight_decay, fused=True)
    options = {"momentum": spec.momentum, "nesterov": spec.nesterov, "weight_decay": spec.weight_decay, "fused": True}
    return torch.optim.SGD(built.parameters(), lr=1.0, **options)


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_dense_training_is_plain_pytorch_to_the_last_bit(spec, algebra):
    ours, theirs, all_kept = network(algebra).eval(), network(algebra), network(algebra)  # `train` sets the mode itself
    trained = train(ours, splits(), spec, seed_of_epoch=seed_of_epoch)
    rates = [spec.learning_rate * 0.1 ** len([m for m in spec.milestones if m <= epoch]) for epoch in range(spec.epochs)]
    losses = list(plain_steps(theirs, plain_optimizer(theirs, spec), spec, rates, splits().train))
    assert same(state(ours), state(theirs))
    assert trained.steps == len(losses) == spec.epochs * STEPS
    for epoch, point in enumerate(trained.epochs):
        assert point.train_loss == pytest.approx(sum(losses[epoch * STEPS :][:STEPS]) / TRAIN_IMAGES, rel=1e-6)
    weights = fnn.named_weights(all_kept)
    train(all_kept, splits(), spec, seed_of_epoch=seed_of_epoch, weights=weights, masks=dense(weights))
    assert same(state(all_kept), state(theirs))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_pruned_weights_are_zero_whenever_the_network_sees_images(spec):
    built = network()
    weights, masks = fnn.named_weights(built), masks_of(built)
    before, looks = state(built), []

    def look(*_):
        assert not any(bool(weight[~masks[name]].any()) for name, weight in weights.items())
        looks.append(built.training)

    built.register_forward_pre_hook(look)
    train(built, splits(), spec, seed_of_epoch=seed_of_epoch, weights=weights, masks=masks)
    look()
    assert looks.count(True) >= spec.epochs * STEPS
    for name, mask in masks.items():
        assert (built.state_dict()[name] != before[name])[mask].float().mean() > 0.9


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_what_is_pruned_does_not_influence_what_is_kept(spec):
    ours, theirs = network(), network()
    masks = masks_of(ours)
    train(ours, splits(), spec, seed_of_epoch=seed_of_epoch, weights=fnn.named_weights(ours), masks=masks)

    weights = fnn.named_weights(theirs)
    apply_(weights, masks)

    def drop_gradients():
        for name, weight in weights.items():
            weight.grad[~masks[name]] = 0

    rates = [spec.learning_rate * 0.1 ** len([m for m in spec.milestones if m <= epoch]) for epoch in range(spec.epochs)]
    list(plain_steps(theirs, plain_optimizer(theirs, spec), spec, rates, splits().train, drop_gradients))
    assert same(state(ours), state(theirs))


def test_a_layer_can_be_pruned_whole_and_another_not_at_all():
    built = network()
    weights = fnn.named_weights(built)
    masks = {name: torch.full(weight.shape, name == "4.weight") for name, weight in weights.items()}
    train(built, splits(), SGD, seed_of_epoch=seed_of_epoch, weights=weights, masks=masks)
    assert not weights["1.weight"].any()
    assert weights["4.weight"].all()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_learning_rate_drops_at_the_start_of_each_milestone(optimizer):
    spec = TrainSpec(optimizer=optimizer, learning_rate=0.08, batch_size=50, epochs=5, milestones=(1, 3), decay=0.25)
    rates = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    try:
        train(network(), splits(), spec, seed_of_epoch=seed_of_epoch)
    finally:
        handle.remove()
    assert rates == pytest.approx([0.08] * 2 + [0.02] * 4 + [0.005] * 4)


def test_every_epoch_is_seeded_by_its_own_number():
    asked = []
    train(network(), splits(), ADAM, seed_of_epoch=lambda epoch: asked.append(epoch) or epoch)
    assert asked == [0, 1, 2]
    one, other = network(), network()
    train(one, splits(), ADAM, seed_of_epoch=lambda epoch: epoch)
    train(other, splits(), ADAM, seed_of_epoch=lambda epoch: epoch + 1)
    assert not same(state(one), state(other))


def test_the_curve_is_reported_as_it_grows_and_ends_with_the_test_of_the_network():
    built, reported = network(), []
    spec = dataclasses.replace(ADAM, epochs=4)
    trained = train(built, splits(), spec, seed_of_epoch=seed_of_epoch, on_epoch=reported.append)
    assert tuple(reported) == trained.epochs
    assert [point.epoch for point in reported] == [1, 2, 3, 4]
    assert trained.test == evaluate(built, splits().test)
    assert (reported[-1].top1, reported[-1].loss) == (trained.test.top1, trained.test.loss)


def test_training_learns():
    spec = dataclasses.replace(ADAM, learning_rate=1e-2, epochs=20)
    trained = train(network(), splits(), spec, seed_of_epoch=seed_of_epoch)
    assert trained.epochs[-1].train_loss < 0.1 * math.log(10)
    assert trained.test.top1 > 60


def test_frozen_parameters_stay_as_they_are():
    built = network()
    built[4].weight.requires_grad_(False)
    before = built[4].weight.clone()
    train(built, splits(), SGD, seed_of_epoch=seed_of_epoch)
    assert torch.equal(built[4].weight, before)


def test_a_callback_may_stop_the_training():
    def stop(point):
        if point.epoch == 2:
            raise OutOfTimeError("no time")

    built, two_epochs = network(), network()
    with pytest.raises(OutOfTimeError, match="no time"):
        train(built, splits(), ADAM, seed_of_epoch=seed_of_epoch, on_epoch=stop)
    train(two_epochs, splits(), dataclasses.replace(ADAM, epochs=2), seed_of_epoch=seed_of_epoch)
    assert same(state(built), state(two_epochs))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_its_epoch(value):
    built = network()

    def spoil(point):
        if point.epoch == 1:
            built[4].bias.data[0] = value

    with pytest.raises(TrainingFailedError, match="the training loss became nan in epoch 2"):
        train(built, splits(), ADAM, seed_of_epoch=seed_of_epoch, on_epoch=spoil)


def test_a_test_loss_that_is_no_number_is_named_as_such():
    built = network()
    built[2].running_mean.fill_(math.nan)  # of use in evaluation only
    with pytest.raises(TrainingFailedError, match="the test loss became nan in epoch 1"):
        train(built, splits(), ADAM, seed_of_epoch=seed_of_epoch)


def test_masks_of_weights_that_are_not_given_are_refused():
    built = network()
    with pytest.raises(ValueError, match=r"`masks` name \['1.weight', '4.weight'\], which `weights` do not have"):
        train(built, splits(), TrainSpec(epochs=1), seed_of_epoch=seed_of_epoch, masks=masks_of(built))
