"""A training that is ended after any step goes on from its checkpoint to the bits of one that was not."""

import dataclasses
import json

import pytest
import torch
from small_runs import BATCH_SIZE, masks_of, network, recording, same, seed_of_epoch, splits, state
from torch import nn

from fourfold import nn as fnn
from fourfold.record import EarlyStopping, TrainSpec
from fourfold.train import ENGINES, Checkpoint, OutOfTimeError, Wanted, train
from fourfold.train import checkpoint as pauses

ADAM = TrainSpec(optimizer="adam", learning_rate=3e-3, batch_size=BATCH_SIZE, epochs=3, weight_decay=1e-2)
SGD = TrainSpec(optimizer="sgd", learning_rate=0.05, batch_size=BATCH_SIZE, epochs=3, momentum=0.9, nesterov=True)
STOPPED = dataclasses.replace(SGD, epochs=9, early_stopping=EarlyStopping(every=3, patience=2), learning_rate=0.3)


def perceptron():
    built = nn.Sequential(nn.Flatten(), fnn.Linear(64, 16, algebra="quaternion"), nn.ReLU(), nn.Linear(16, 10))
    fnn.initialize(built, generator=torch.Generator().manual_seed(0))
    return built


def convolutions():
    layers = (nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    built = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 10))
    fnn.initialize(built, generator=torch.Generator().manual_seed(0))
    return built.to(memory_format=torch.channels_last)


def dropout():
    built = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.Linear(32, 10))
    fnn.initialize(built, generator=torch.Generator().manual_seed(0))
    return built


class Ends:
    """Ends a training at its so-manyeth pause, and has its checkpoint as a file would have it."""

    def __init__(self, after: int) -> None:
        self.after, self.saved = after, None

    def wants(self, *, epoch_ended, finished, ahead_seconds):
        self.after -= 1
        return Wanted(save=self.after == 0 and not finished, end=self.after == 0 and not finished)

    def save(self, checkpoint):
        position = json.loads(json.dumps(checkpoint.position()))
        self.saved = Checkpoint.at(position, {name: t.clone().contiguous() for name, t in checkpoint.tensors.items()})


CASES = {
    "eager": (network, ADAM, {}),
    "native": (perceptron, ADAM, {}),
    "native, momentum": (perceptron, SGD, {}),
    "captured": (network, ADAM, {"captured": True}),
    "captured, momentum": (network, SGD, {"captured": True}),
    "channels last": (convolutions, ADAM, {}),
    "channels last, momentum": (convolutions, SGD, {}),
    "dropout": (dropout, SGD, {}),
    "early stopping": (network, STOPPED, {"validation": 40}),
    "early stopping in native code": (perceptron, STOPPED, {"validation": 40}),
    "from a step on": (network, SGD, {"first_step": 6}),
}


@pytest.mark.parametrize("after", [1, 2, 5])
@pytest.mark.parametrize("case", CASES)
def test_a_training_in_pieces_has_the_bits_of_a_whole_one(case, after, monkeypatch):
    monkeypatch.setattr(pauses, "LOOK_SECONDS", 0.0)
    make, spec, options = CASES[case]
    images = splits(options.get("validation", 0))
    settings = {"seed_of_epoch": seed_of_epoch, "first_step": options.get("first_step", 0)}
    settings["engines"] = (recording(),) if options.get("captured") else ENGINES

    def go(built, **more):
        weights = fnn.named_weights(built)
        return train(built, images, spec, weights=weights, masks=masks_of(built), **settings, **more)

    torch.manual_seed(7)
    whole = make()
    expected = go(whole)

    torch.manual_seed(7)
    saved, trained, pieces = None, None, 0
    while trained is None:
        built, ends = make(), Ends(after)
        layouts = [parameter.stride() for parameter in built.parameters()]
        try:
            trained = go(built, saver=ends, resumed=saved)
        except OutOfTimeError:
            torch.rand(5)  # other trainings of this process draw, too
            saved, pieces = ends.saved, pieces + 1
            assert pieces < 99
    assert pieces >= 1
    assert same(state(built), state(whole))
    assert [parameter.stride() for parameter in built.parameters()] == layouts
    assert (trained.epochs, trained.test, trained.validation) == (expected.epochs, expected.test, expected.validation)
    assert trained.steps == expected.steps
    assert same(trained.moments, expected.moments)
    if "early stopping" in case:
        assert len(trained.epochs) < spec.epochs


def test_without_a_saver_nobody_pauses():
    class Never:
        def wants(self, **_):
            raise AssertionError("asked")

    train(network(), splits(), ADAM, seed_of_epoch=seed_of_epoch)
    with pytest.raises(AssertionError, match="asked"):
        train(network(), splits(), ADAM, seed_of_epoch=seed_of_epoch, saver=Never())


def test_short_steps_are_paused_about_five_times_a_second_and_long_ones_every_time():
    for seconds, most in ((1e-4, 2 * pauses.LOOK_SECONDS / 1e-4), (1.0, 1)):
        now, counts = [0.0], []
        never = Ends(-1)
        pausing = pauses.Pauses(never, lambda: None, torch.device("cpu"), now=lambda: now[0])  # noqa: B023
        for _ in range(60):
            counts.append(pausing.at_most(10**9))
            now[0] += counts[-1] * seconds
            pausing.after(counts[-1])
        assert max(counts) <= most
        assert counts[-1] == pytest.approx(max(1, pauses.LOOK_SECONDS / seconds), rel=0.01)
