"""Recorded steps are the plain ones; on a CPU a recording is the step itself, so everything around it is tested here."""

from dataclasses import replace

import pytest
import torch
from small_runs import epoch, recording, setup
from torch import nn

from fourfold import data, pruning
from fourfold import nn as fnn
from fourfold.nn import named_weights
from fourfold.record import DataSpec, EarlyStopping, TrainSpec
from fourfold.train import evaluate, train
from fourfold.train.engines import CudaGraph, DeclinedError, Eager, choose_engine, start_engine
from fourfold.train.evaluation import BATCH_SIZE

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


def engine_of(device: str) -> type[CudaGraph]:
    return CudaGraph if device == "cuda" else recording()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("at_once", [99, 2], ids=["together", "by-twos"])
@pytest.mark.parametrize("count", [48, 53], ids=["whole", "rest"])
@pytest.mark.parametrize("spec", [SGD, ADAM], ids=["sgd", "adam"])
def test_epochs_of_recorded_steps_are_those_of_plain_steps(spec, count, at_once, device):
    images = resident(count, device)
    networks = [network(device) for _ in range(2)]
    weights = [named_weights(each) for each in networks]
    masks = pruning.magnitude(weights[0], pruning.dense(weights[0]), 0.4)
    plain = Eager(setup(networks[0], spec, masks, images))
    captured = engine_of(device)(setup(networks[1], spec, masks, images))
    number = -(-count // spec.batch_size)
    rates = torch.linspace(spec.learning_rate, spec.learning_rate / 3, number)
    for number_of_epoch in range(3):
        total = torch.zeros((), dtype=torch.float64)
        first = 1 if number_of_epoch == 0 else 0
        for i, (batch, labels) in enumerate(images.epoch(spec.batch_size, seed=number_of_epoch)):
            if i < first:
                continue
            total += plain.take(batch, labels, float(rates[i])).cpu() * len(labels)
        found = epoch(captured, number_of_epoch, rates, first, at_once)
        torch.testing.assert_close(found.cpu(), total, rtol=1e-5, atol=0)
        for (name, mine), theirs in zip(networks[1].state_dict().items(), networks[0].state_dict().values(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
        assert all(bool((weights[1][name][~mask] == 0).all()) for name, mask in masks.items())
    mine, theirs = captured.optimizer_state(), plain.optimizer_state()
    assert int(mine["steps"]) == int(theirs["steps"]) == 3 * number - 1
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spec", [SGD, ADAM], ids=["sgd", "adam"])
def test_recorded_steps_go_on_from_averages(spec):
    images = resident(48, "cpu")
    rates = torch.full((3,), spec.learning_rate)
    straight, halves = network("cpu"), network("cpu")
    whole = recording()(setup(straight, spec, images=images))
    for seed in (0, 1):
        epoch(whole, seed, rates)
    first = recording()(setup(halves, spec, images=images))
    epoch(first, 0, rates)
    second = recording()(setup(halves, spec, images=images, optimizer_state=first.optimizer_state()))
    epoch(second, 1, rates)
    for mine, theirs in zip(halves.state_dict().values(), straight.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert int(second.optimizer_state()["steps"]) == 6


def splits(device: str, validation: int = 0) -> data.Splits:
    train, held_out, test = (resident(count, device) for count in (53, validation, 20))
    return data.Splits(train=train, validation=held_out if validation else None, test=test, channels=4, image_size=(8, 8))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", [None, "bf16"])
def test_training_by_recorded_steps_gives_the_curve_of_the_plain_loop(precision, device):
    spec = replace(SGD, epochs=3, milestones=(1,), decay=0.5, precision=precision)
    found = []
    for engine in (Eager, engine_of(device)):
        trained = network(device)
        masks = pruning.magnitude(named_weights(trained), pruning.dense(named_weights(trained)), 0.4)
        weights = named_weights(trained)
        found.append(
            train(
                trained,
                splits(device),
                spec,
                seed_of_epoch=lambda e: e,
                weights=weights,
                masks=masks,
                first_step=2,
                engines=(engine,),
            )
        )
    plain, captured = found
    assert (plain.engine, captured.engine) == ("eager", "cuda_graph")
    assert captured.steps == plain.steps == 3 * 4 - 2
    for mine, theirs in zip(captured.epochs, plain.epochs, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("every", [1, 3, 4, 7])
def test_early_stopping_by_recorded_steps_ends_where_the_plain_loop_does(every, device):
    spec = replace(SGD, epochs=30, learning_rate=0.2, early_stopping=EarlyStopping(every=every, patience=3))
    found, states = [], []
    for engine in (Eager, engine_of(device)):
        trained = network(device)
        found.append(train(trained, splits(device, 31), spec, seed_of_epoch=lambda e: e, engines=(engine,)))
        states.append(trained.state_dict())
    plain, captured = found
    assert (plain.engine, captured.engine) == ("eager", "cuda_graph")
    assert captured.steps == plain.steps < 30 * 4
    assert captured.steps % every == 0
    assert captured.validation.loss == pytest.approx(plain.validation.loss, rel=1e-4)
    for mine, theirs in zip(captured.epochs, plain.epochs, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
    for mine, theirs in zip(states[1].values(), states[0].values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_nothing_is_recorded_on_a_cpu():
    training = setup(network("cpu"), ADAM, images=resident(48, "cpu"))
    assert choose_engine(training) is Eager
    assert CudaGraph.declines(training) == "the network is not on a CUDA device"
    assert recording().declines(training) is None


def test_masks_that_may_change_are_not_recorded():
    training = setup(network("cpu"), ADAM, images=resident(48, "cpu"))
    assert recording().declines(replace(training, step_by_step=True)) == "its masks may change between steps"
    with pytest.raises(DeclinedError, match="cannot change its masks"):
        recording()(training).set_masks({})


def test_a_network_that_cannot_be_recorded_is_left_as_it_was_and_said(capsys):
    def refuse(step):
        step()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    trained = network("cpu")
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    engines = (recording(refuse), Eager)
    assert type(start_engine(setup(trained, SGD, images=resident(48, "cpu")), engines)) is Eager
    assert capsys.readouterr().err == (
        "the network cannot be recorded as a CUDA graph (operation not permitted when stream is capturing); "
        "it takes its steps one by one\n"
    )
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    few = resident(3, "cpu")  # too few to record a step or a batch of
    for count, told in ((3, False), (BATCH_SIZE, True)):
        engine = recording(refuse)(setup(trained.train(), SGD, images=few, test=resident(count, "cpu")))
        assert engine.evaluate("test") == evaluate(trained, resident(count, "cpu"))
        assert capsys.readouterr().err.endswith("; it is evaluated batch by batch\n") == told
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
    engine = engine_of(device)(setup(trained, SGD, images=resident(3, device), test=images))
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    first = engine.evaluate("test")
    assert first == engine.evaluate("test")
    assert first.loss == pytest.approx(evaluate(trained, images).loss, rel=1e-6)
    assert first.top1 == evaluate(trained, images).top1
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert all(module.training for module in trained.modules())
    with torch.no_grad():
        trained[-1].weight.neg_()
        trained[1].running_mean.add_(0.5)
    assert engine.evaluate("test").loss == pytest.approx(evaluate(trained, images).loss, rel=1e-6) != first.loss


def test_fewer_images_than_a_batch_are_one_step():
    networks = [network("cpu") for _ in range(2)]
    images = resident(7, "cpu")
    epoch(recording()(setup(networks[0], SGD, images=images)), 0, torch.tensor([0.05]))
    Eager(setup(networks[1], SGD, images=images)).take(*next(images.epoch(16, seed=0)), 0.05)
    for mine, theirs in zip(networks[0].state_dict().values(), networks[1].state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs)
