"""Early stopping: at the minimum of the validation loss, with the weights it was reached with, blind to the test set."""

import dataclasses

import pytest
import torch
from small_runs import BATCH_SIZE, masks_of, network, plain_steps, same, seed_of_epoch, splits, state

from fourfold import nn as fnn
from fourfold.record import EarlyStopping, TrainSpec
from fourfold.train import evaluate, train

VALIDATION = 40
# So large a rate that the validation loss goes up and down.
SPEC = TrainSpec(learning_rate=0.1, batch_size=BATCH_SIZE, epochs=30, early_stopping=EarlyStopping(every=3, patience=4))


def expected(spec: TrainSpec):
    """Look at the validation loss now and then; return steps, losses seen and the state at the best of them."""
    built, data = network(), splits(VALIDATION)
    optimizer = torch.optim.Adam(built.parameters(), fused=True)
    losses, states = [], []
    for step, _ in enumerate(plain_steps(built, optimizer, spec, [spec.learning_rate] * spec.epochs, data.train), 1):
        if step % spec.early_stopping.every == 0:
            losses.append(evaluate(built, data.validation).loss)
            states.append(state(built))
            best = losses.index(min(losses))
            if len(losses) - 1 - best >= spec.early_stopping.patience:
                break
    return step, losses, states[best]


@pytest.mark.parametrize(("every", "patience"), [(3, 4), (1, 1), (4, 2), (3, 1000)])
def test_training_ends_after_looks_without_a_new_minimum_and_restores_the_best_weights(every, patience):
    spec = dataclasses.replace(SPEC, early_stopping=EarlyStopping(every=every, patience=patience))
    steps, losses, best = expected(spec)
    built = network()
    trained = train(built, splits(VALIDATION), spec, seed_of_epoch=seed_of_epoch)
    assert trained.steps == steps
    assert (steps < 30 * 4) == (patience < 1000)
    assert losses[-1] > min(losses)
    assert same(state(built), best)
    assert trained.test == evaluate(built, splits(VALIDATION).test)
    assert evaluate(built, splits(VALIDATION).validation).loss == min(losses)


def test_early_stopping_never_looks_at_the_test_set():
    data = splits(VALIDATION)
    other = dataclasses.replace(data, test=data.train)
    one, two = network(), network()
    first = train(one, data, SPEC, seed_of_epoch=seed_of_epoch)
    second = train(two, other, SPEC, seed_of_epoch=seed_of_epoch)
    assert first.test != second.test
    assert first.steps == second.steps
    assert same(state(one), state(two))


def test_validation_images_are_not_trained_on():
    data = splits(VALIDATION)
    assert len(data.validation) == VALIDATION
    seen = {image.numpy().tobytes() for images, _ in data.train.batches(50) for image in images}
    held_out = {image.numpy().tobytes() for images, _ in data.validation.batches(50) for image in images}
    assert not seen & held_out


def test_restored_weights_are_pruned_too():
    built = network()
    weights, masks = fnn.named_weights(built), masks_of(built)
    trained = train(built, splits(VALIDATION), SPEC, seed_of_epoch=seed_of_epoch, weights=weights, masks=masks)
    assert trained.steps < 30 * 4
    assert not any(bool(weight[~masks[name]].any()) for name, weight in weights.items())


def test_looking_does_not_change_the_training():
    spec = dataclasses.replace(SPEC, epochs=1, early_stopping=EarlyStopping(every=4, patience=9))
    looked, plain = network(), network()
    train(looked, splits(VALIDATION), spec, seed_of_epoch=seed_of_epoch)
    train(plain, splits(VALIDATION), dataclasses.replace(spec, early_stopping=None), seed_of_epoch=seed_of_epoch)
    assert same(state(looked), state(plain))


def test_training_that_ends_before_the_first_look_keeps_its_weights():
    built, spec = network(), dataclasses.replace(SPEC, epochs=1, early_stopping=EarlyStopping(every=100, patience=1))
    start = state(built)
    trained = train(built, splits(VALIDATION), spec, seed_of_epoch=seed_of_epoch)
    assert not same(state(built), start)
    assert trained.test == evaluate(built, splits(VALIDATION).test)
