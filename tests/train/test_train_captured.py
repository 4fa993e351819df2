"""Recorded steps are the plain ones; on a CPU a recording is the step itself, so everything around it is tested here."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from fourfold import data, pruning
from fourfold import nn as fnn
from fourfold.nn import named_weights
from fourfold.record import DataSpec, EarlyStopping, TrainSpec
from fourfold.train import evaluate, fastest, train
from fourfold.train.captured import CapturedSteps, captured_evaluation, captured_steps, cuda_graph
from fourfold.train.evaluation import BATCH_SIZE
from fourfold.train.steps import Steps

SGD = TrainSpec(optimizer="sgd", learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3, batch_size=16, epochs=1)
ADAM = TrainSpec(optimizer="adam", learning_rate=1e-3, weight_decay=1e-3, batch_size=16, epochs=1)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]


def resident(count: int, device: str) -> data.Resident:
    spec = DataSpec(name="cifar-10", encoding="grey", crop=2, flip=True)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(0, 10, (count,), generator=generator).to(device)
    return data.Resident(images, labels, None, spec=spec, mean=(0.5,) * 3, std=(0.25,) * 3, n=4, channels=4)


def network(device: str) -> nn.Module:
    """A small one with batch norm, whose running statistics must not see the warming up."""
    torch.manual_seed(0)
    algebra = {"algebra": "quaternion"}
    layers = (fnn.Conv2d(4, 8, 3, **algebra), fnn.BatchNorm2d(8, **algebra), nn.ReLU(), nn.Flatten(), fnn.Linear(288, 10))
    return nn.Sequential(*layers).to(device)


def recorded(step):
    """Run the step once, as a capture runs its Python, and count on the caller to undo it."""
    step()
    return step


def epoch(steps, seed, rates, first=0, at_once=99):
    """Take the steps of an epoch, so many at once, and return the sum of the losses."""
    steps.begin(seed, rates, first)
    while steps.left:
        total = steps.go_on(at_once)
    return total


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("at_once", [99, 2], ids=["together", "by-twos"])
@pytest.mark.parametrize("count", [48, 53], ids=["whole", "rest"])
@pytest.mark.parametrize("spec", [SGD, ADAM], ids=["sgd", "adam"])
def test_epochs_of_recorded_steps_are_those_of_plain_steps(spec, count, at_once, device):
    images = resident(count, device)
    networks = [network(device) for _ in range(2)]
    weights = [named_weights(each) for each in networks]
    masks = pruning.magnitude(weights[0], pruning.dense(weights[0]), 0.4)
    plain = Steps(networks[0], spec, weights[0], masks)
    record = cuda_graph if device == "cuda" else recorded
    captured = CapturedSteps(networks[1], spec, weights[1], masks, images, record=record)
    number = -(-count // spec.batch_size)
    rates = torch.linspace(spec.learning_rate, spec.learning_rate / 3, number)
    for number_of_epoch in range(3):
        total = torch.zeros((), dtype=torch.float64)
        first = 1 if number_of_epoch == 0 else 0
        for i, (batch, labels) in enumerate(images.epoch(spec.batch_size, seed=number_of_epoch)):
            if i < first:
                continue
            plain.learning_rate = float(rates[i])
            total += plain.take(batch, labels).cpu() * len(labels)
        found = epoch(captured, number_of_epoch, rates, first, at_once)
        assert captured.seen == count - first * spec.batch_size
        torch.testing.assert_close(found.cpu(), total, rtol=1e-5, atol=0)
        for (name, mine), theirs in zip(networks[1].state_dict().items(), networks[0].state_dict().values(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
        assert all(bool((weights[1][name][~mask] == 0).all()) for name, mask in masks.items())
    assert captured.taken == plain.taken == 3 * number - 1
    mine, theirs = captured.moments(), plain.moments()
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spec", [SGD, ADAM], ids=["sgd", "adam"])
def test_recorded_steps_go_on_from_averages(spec):
    images = resident(48, "cpu")
    rates = torch.full((3,), spec.learning_rate)
    straight, halves = network("cpu"), network("cpu")
    whole = CapturedSteps(straight, spec, {}, {}, images, record=recorded)
    for seed in (0, 1):
        epoch(whole, seed, rates)
    first = CapturedSteps(halves, spec, {}, {}, images, record=recorded)
    epoch(first, 0, rates)
    second = CapturedSteps(halves, spec, {}, {}, images, moments=first.moments(), record=recorded)
    epoch(second, 1, rates)
    for mine, theirs in zip(halves.state_dict().values(), straight.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert int(second.moments()["steps"]) == 6


def splits(device: str, validation: int = 0) -> data.Splits:
    train, held_out, test = (resident(count, device) for count in (53, validation, 20))
    return data.Splits(train=train, validation=held_out if validation else None, test=test, channels=4, image_size=(8, 8))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", [None, "bf16"])
def test_training_by_recorded_steps_gives_the_curve_of_the_plain_loop(precision, device, monkeypatch):
    spec = replace(SGD, epochs=3, milestones=(1,), decay=0.5, precision=precision)
    found = []
    record = None if device == "cuda" else recorded
    for steps in (lambda *_: None, partial(captured_steps, record=record)):
        monkeypatch.setattr(fastest, "captured_steps", steps)
        monkeypatch.setattr(fastest, "captured_evaluation", partial(captured_evaluation, record=record))
        trained = network(device)
        masks = pruning.magnitude(named_weights(trained), pruning.dense(named_weights(trained)), 0.4)
        weights = named_weights(trained)
        found.append(
            train(trained, splits(device), spec, seed_of_epoch=lambda e: e, weights=weights, masks=masks, first_step=2)
        )
    plain, captured = found
    assert captured.steps == plain.steps == 3 * 4 - 2
    for mine, theirs in zip(captured.epochs, plain.epochs, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("every", [1, 3, 4, 7])
def test_early_stopping_by_recorded_steps_ends_where_the_plain_loop_does(every, device, monkeypatch):
    spec = replace(SGD, epochs=30, learning_rate=0.2, early_stopping=EarlyStopping(every=every, patience=3))
    record = None if device == "cuda" else recorded
    looks, found, states = [], [], []
    for steps in (lambda *_: None, partial(captured_steps, record=record)):
        monkeypatch.setattr(fastest, "captured_steps", steps)
        monkeypatch.setattr(
            fastest, "captured_evaluation", lambda *given: looks.append(1) or captured_evaluation(*given, record)
        )
        trained = network(device)
        found.append(train(trained, splits(device, 31), spec, seed_of_epoch=lambda e: e))
        states.append(trained.state_dict())
    plain, captured = found
    assert len(looks) == 2  # test and validation images, of the recorded training alone
    assert captured.steps == plain.steps < 30 * 4
    assert captured.steps % every == 0
    assert captured.validation.loss == pytest.approx(plain.validation.loss, rel=1e-4)
    for mine, theirs in zip(captured.epochs, plain.epochs, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
    for mine, theirs in zip(states[1].values(), states[0].values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_nothing_is_recorded_on_a_cpu():
    images = resident(48, "cpu")
    assert captured_steps(network("cpu"), ADAM, {}, {}, images) is None
    assert captured_steps(network("cpu"), ADAM, {}, {}, images, record=recorded) is not None


def test_a_network_that_cannot_be_recorded_is_left_as_it_was_and_said(capsys):
    def refuse(step):
        step()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    trained = network("cpu")
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    assert captured_steps(trained, SGD, {}, {}, resident(48, "cpu"), record=refuse) is None
    assert capsys.readouterr().err == (
        "the network cannot be recorded as a CUDA graph (operation not permitted when stream is capturing); "
        "it takes its steps one by one\n"
    )
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert captured_evaluation(trained.train(), resident(3, "cpu"), record=refuse) is not None  # there is nothing to record
    assert captured_evaluation(trained, resident(BATCH_SIZE, "cpu"), record=refuse) is None
    assert capsys.readouterr().err.endswith("; it is evaluated batch by batch\n")
    assert all(module.training for module in trained.modules())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [2 * BATCH_SIZE, BATCH_SIZE + 31, 31], ids=["whole", "rest", "less"])
@pytest.mark.parametrize("members", [False, True], ids=["all", "members"])
def test_recorded_evaluations_are_those_of_the_network_as_it_is(members, count, device):
    images, trained = resident(count, device), network(device)
    if members:
        images = data.Resident(
            torch.cat([images._images, 255 - images._images]),
            images.labels,
            torch.arange(2 * count, device=device)[count // 2 :][:count].flip(0),
            spec=images._spec,
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            n=4,
            channels=4,
        )
    found = captured_evaluation(trained, images, record=None if device == "cuda" else recorded)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    first = found()
    assert first == found()
    assert first.loss == pytest.approx(evaluate(trained, images).loss, rel=1e-6)
    assert first.top1 == evaluate(trained, images).top1
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert all(module.training for module in trained.modules())
    with torch.no_grad():
        trained[-1].weight.neg_()
        trained[1].running_mean.add_(0.5)
    assert found().loss == pytest.approx(evaluate(trained, images).loss, rel=1e-6) != first.loss


def test_fewer_images_than_a_batch_are_one_step():
    networks = [network("cpu") for _ in range(2)]
    images = resident(7, "cpu")
    captured = CapturedSteps(networks[0], SGD, {}, {}, images, record=recorded)
    epoch(captured, 0, torch.tensor([0.05]))
    plain = Steps(networks[1], SGD, {}, {})
    plain.take(*next(images.epoch(16, seed=0)))
    for mine, theirs in zip(networks[0].state_dict().values(), networks[1].state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs)
