"""The plain loop computes what ours does, and throughputs are those of the whole epoch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fourfold import data, presets, pruning, timing
from fourfold.lottery.levels import build
from fourfold.nn import named_weights
from fourfold.record import DataSpec, ModelSpec, Spec, TrainSpec
from fourfold.timing import plain, throughput
from fourfold.train import train

SGD = TrainSpec(optimizer="sgd", learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3, batch_size=50, epochs=1)
ADAM = TrainSpec(optimizer="adam", learning_rate=1e-3, weight_decay=1e-3, batch_size=50, epochs=1)


def spec(
    name: str = "digits", encoding: str = "pixels", algebra: str = "quaternion", train: TrainSpec = ADAM, **options
) -> Spec:
    model = ModelSpec(name="lenet-12" if name == "digits" else "conv-2", algebra=algebra)
    return Spec(preset="sample", data=DataSpec(name=name, encoding=encoding, **options), model=model, train=train)


def image_set(name: str, train: int = 200, test: int = 40) -> data.ImageSet:
    about, random = data.info(name), np.random.default_rng(0)
    shape = (about.channels, about.size, about.size)
    images = [random.integers(0, 256, (count, *shape), dtype=np.uint8) for count in (train, test)]
    labels = [random.integers(0, about.num_classes, count) for count in (train, test)]
    return data.ImageSet(
        info=about, train_images=images[0], train_labels=labels[0], test_images=images[1], test_labels=labels[1]
    )


@pytest.mark.parametrize(
    "of",
    [
        spec(),
        spec(algebra="real"),
        spec("cifar-10", "grey", normalization="imagenet"),
        spec("cifar-10", "zero"),
        spec("cifar-10", "pixels"),
        spec("cifar-10", "grey", algebra="octonion"),
        spec("cifar-10", "grey", algebra="real", encode_real=True),
        spec("cifar-10", "learned"),
    ],
    ids=lambda of: f"{of.data.name}-{of.data.encoding}-{of.model.algebra}",
)
def test_single_images_are_those_of_the_batches(of):
    images = image_set(of.data.name)
    n = {"real": 1, "quaternion": 4, "octonion": 8}[of.model.algebra]
    splits = data.prepare(images, of.inputs, n, "cpu")
    items = plain.Items(torch.from_numpy(images.test_images), torch.from_numpy(images.test_labels), of, augment=True)
    ((batch, labels),) = splits.test.batches(len(items))
    found = [items[i] for i in range(len(items))]
    torch.testing.assert_close(torch.stack([image for image, _ in found]), batch)
    assert torch.equal(torch.stack([label for _, label in found]), labels)


def test_single_images_are_cropped_and_flipped_as_asked():
    of = spec("cifar-10", "grey", crop=3, flip=True)
    images = torch.from_numpy(image_set("cifar-10").test_images[:1])
    items = plain.Items(images, torch.tensor([7]), of, augment=True)
    still = plain.Items(images, torch.tensor([7]), of, augment=False)
    torch.manual_seed(0)
    drawn = [items[0][0] for _ in range(40)]
    assert torch.equal(still[0][0], still[0][0])
    windows = []
    black = -still.mean / still.std
    padded = black.expand(3, 38, 38).clone()
    padded[:, 3:-3, 3:-3] = still[0][0][:3]
    for top in range(7):
        for left in range(7):
            window = padded[:, top : top + 32, left : left + 32]
            windows += [window, window.flip(2)]
    found = [next(i for i, window in enumerate(windows) if torch.allclose(image[:3], window)) for image in drawn]
    assert {i // 14 for i in found} == {i // 2 % 7 for i in found} == set(range(7))  # every row and column to begin at
    assert {i % 2 for i in found} == {0, 1}


@pytest.mark.parametrize("settings", [SGD, ADAM], ids=["sgd", "adam"])
def test_the_plain_loop_trains_the_same_network(settings, monkeypatch):
    monkeypatch.setenv("FOURFOLD_NATIVE", "0")
    of, images = spec(train=settings), image_set("digits")
    splits = data.prepare(images, of.inputs, 4, "cpu")
    networks = [build(of, seed=0) for _ in range(2)]
    weights = [named_weights(network) for network in networks]
    masks = pruning.magnitude(weights[0], pruning.dense(weights[0]), 0.3)
    trained = train(networks[0], splits, settings, seed_of_epoch=lambda epoch: epoch, weights=weights[0], masks=masks)

    pruning.apply_(weights[1], masks)
    taker = plain.optimizer(networks[1], settings)
    losses = [
        plain.step(networks[1], taker, weights[1], masks, *batch) for batch in splits.train.epoch(settings.batch_size, seed=0)
    ]
    for mine, theirs in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert np.mean(losses) == pytest.approx(trained.epochs[0].train_loss, rel=1e-4)
    items = plain.Items(torch.from_numpy(images.test_images), torch.from_numpy(images.test_labels), of, augment=False)
    assert plain.evaluate(networks[1], plain.loader(items, 7, shuffle=False), torch.device("cpu")) == trained.test.top1
    assert all(bool((weight[~masks[name]] == 0).all()) for name, weight in weights[1].items())


@pytest.mark.slow
def test_throughputs_belong_together(monkeypatch):
    monkeypatch.setattr(throughput, "SECONDS_PER_ROUND", 1e-6)  # two batches
    specs = [presets.get("digits", algebra=name) for name in ("real", "quaternion")]
    specs[1] = replace(specs[1], data=replace(specs[1].data, validation=300))
    found = list(timing.measure_throughput(specs, rounds=2, device=torch.device("cpu"), density=0.1))
    assert [speed.spec for speed in found] == specs
    for speed, whole in zip(found, (1437, 1137), strict=True):
        epochs = speed.spec.train.epochs
        assert speed.images == 2 * speed.spec.train.batch_size
        assert speed.ratio.low <= speed.ratio.median <= speed.ratio.high
        assert speed.ours.low / speed.plain.high <= speed.ratio.median <= speed.ours.high / speed.plain.low
        assert speed.ours.low / speed.best.high <= speed.ratio_to_best.median <= speed.ours.high / speed.best.low
        assert epochs * whole / speed.ours.high <= speed.level_seconds * 1.001
        assert speed.level_seconds * 0.999 <= epochs * whole / speed.ours.low
        assert 0 < speed.operations < 1
        assert speed.transfer > 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"rounds": 1}, r"`rounds` \(=1\) must be at least 2"), ({"density": 0.0}, r"`density` \(=0.0\) must lie in \(0, 1\]")],
    ids=["rounds", "density"],
)
def test_nonsense_is_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        next(timing.measure_throughput([spec()], device=torch.device("cpu"), **options))
