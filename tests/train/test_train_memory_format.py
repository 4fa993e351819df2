"""Networks of images train in channels last on a CPU."""

import pytest
import torch
from small_runs import BATCH_SIZE, network, seed_of_epoch, splits
from torch import nn

from fourfold import models
from fourfold import nn as fnn
from fourfold.native.convolution import available
from fourfold.record import TrainSpec
from fourfold.train import memory_format as module
from fourfold.train import train
from fourfold.train.memory_format import fastest_format, laid_out

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LAST, PLANAR = torch.channels_last, torch.contiguous_format


@pytest.mark.parametrize(
    ("algebra", "model", "device", "precision", "compiled", "expected"),
    [
        ("real", "conv2", CPU, None, True, LAST),
        ("real", "conv2", CPU, "bf16", False, LAST),
        ("quaternion", "conv2", CPU, None, True, LAST),
        ("quaternion", "conv2", CPU, None, False, PLANAR),  # few products of torch's own convolutions
        ("quaternion", "conv2", CPU, "bf16", False, LAST),
        ("octonion", "conv2", CPU, None, False, LAST),
        ("real", "lenet-300-100", CPU, None, True, PLANAR),
        ("real", "lenet-300-100", CPU, "bf16", True, PLANAR),
        ("real", "conv2", GPU, None, True, PLANAR),
        ("quaternion", "conv2", GPU, "bf16", True, LAST),
        ("real", "lenet-300-100", GPU, "tf32", True, LAST),
    ],
)
def test_the_faster_format_is_taken(algebra, model, device, precision, compiled, expected, monkeypatch):
    monkeypatch.setattr(module, "available", lambda bf16: compiled)
    built = models.build(model, algebra=algebra, num_classes=10, shape=(8, 32, 32), device="meta")
    assert fastest_format(built, device, precision) is expected


def image_network():
    built = nn.Sequential(
        fnn.Conv2d(1, 8, 3), nn.ReLU(), fnn.Conv2d(8, 16, 3, algebra="quaternion"), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )
    fnn.initialize(built, generator=torch.Generator().manual_seed(0))
    return built


def test_batches_are_laid_out_while_a_network_trains():
    built, images = image_network(), splits(validation=10)
    with laid_out(built, images, "bf16") as inside:
        for split in (inside.train, inside.validation, inside.test):
            batch, _ = next(split.batches(5))
            assert split.memory_format == "channels_last"
            assert batch.is_contiguous(memory_format=LAST)
    assert images.train.memory_format == "contiguous"


@pytest.mark.parametrize("precision", [None, "bf16"])
def test_a_training_says_what_trained(precision):
    spec = TrainSpec(epochs=1, batch_size=BATCH_SIZE, precision=precision)
    trained = train(image_network(), splits(), spec, seed_of_epoch=seed_of_epoch)
    expected = "channels_last" if precision or available(bf16=False) else "contiguous"
    assert (trained.engine, trained.memory_format) == ("eager", expected)
    trained = train(network(), splits(), spec, seed_of_epoch=seed_of_epoch)
    assert (trained.engine, trained.memory_format) == ("eager", "contiguous")


def test_channels_last_trains_the_same_network(monkeypatch):
    spec, states = TrainSpec(epochs=1, batch_size=BATCH_SIZE), []
    for layout in (LAST, PLANAR):
        monkeypatch.setattr(module, "fastest_format", lambda *given, layout=layout: layout)
        built = image_network()
        masks = {name: torch.arange(w.numel()).view(w.shape) % 3 > 0 for name, w in fnn.named_weights(built).items()}
        train(built, splits(), spec, seed_of_epoch=seed_of_epoch, weights=fnn.named_weights(built), masks=masks)
        states.append(built.state_dict())
        assert all(bool((weight[~masks[name]] == 0).all()) for name, weight in fnn.named_weights(built).items())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-3, atol=1e-4)
