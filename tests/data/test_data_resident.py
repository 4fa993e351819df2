"""The device-resident batches against slow references, image by image."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from fourfold import data
from fourfold.data import ImageSet
from fourfold.data.resident import crop_and_flip, interleave
from fourfold.record import DataSpec, UserError


def image_set(name="cifar-10", train=50, test=20, seed=0):
    """Random images of a data set's shape; pixel (0, 0) of the first channel is the number of the image."""
    about = data.info(name)
    random = np.random.default_rng(seed)

    def images(count):
        pixels = random.integers(0, 256, (count, about.channels, about.size, about.size), dtype=np.uint8)
        pixels[:, 0, 0, 0] = np.arange(count)
        return pixels

    return ImageSet(
        info=about,
        train_images=images(train),
        train_labels=np.arange(train) % 10,
        test_images=images(test),
        test_labels=np.arange(test) % 10,
    )


def numbers(images, spec, about):
    """Which image each of a batch is, by its first pixel."""
    mean, std = (0.485, 0.229) if spec.normalization == "imagenet" else (about.mean[0], about.std[0])
    return ((images[:, 0, 0, 0].double() * std + mean) * 255).round().long().tolist()


def collect(batches):
    batches = list(batches)
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def normalised(images, mean, std):
    """The definition, in float64: (x / 255 - mean) / std."""
    shape = (1, -1, 1, 1)
    return (images / 255 - np.reshape(mean, shape)) / np.reshape(std, shape)


@pytest.mark.parametrize("name", ["mnist", "cifar-10"])
@pytest.mark.parametrize("batch_size", [1, 7, 50, 64])
def test_an_epoch_holds_every_image_once_and_the_rest_in_a_last_batch(name, batch_size):
    spec = DataSpec(name=name)
    found = image_set(name)
    train = data.prepare(found, spec, 1, "cpu").train
    batches = list(train.epoch(batch_size, seed=5))
    sizes = [len(labels) for _, labels in batches]
    assert sizes == [batch_size] * (50 // batch_size) + [50 % batch_size] * bool(50 % batch_size)
    images, labels = collect(batches)
    order = numbers(images, spec, found.info)
    assert sorted(order) == list(range(50))
    assert order != list(range(50))
    assert labels.tolist() == [number % 10 for number in order]
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert np.allclose(images, normalised(found.train_images[order], found.info.mean, found.info.std), atol=1e-6)


def test_the_order_depends_on_the_seed_alone():
    found = image_set()
    orders = {}
    for encoding, n, batch_size, augment in itertools.product(["none", "grey"], [1, 4], [7, 50], [True, False]):
        spec = DataSpec(name="cifar-10", encoding=encoding)
        train = data.prepare(found, spec, n, "cpu").train
        for seed in (0, 1, 2**32, 2**63, -1):
            images, _ = collect(train.epoch(batch_size, seed, augment))
            orders.setdefault(seed, []).append(tuple(numbers(images, spec, found.info)))
    assert all(len(set(same)) == 1 for same in orders.values())
    assert len({same[0] for same in orders.values()}) == len(orders)


def test_both_algebras_see_the_same_augmented_images():
    found = image_set()
    spec = DataSpec(name="cifar-10", encoding="grey", crop=4, flip=True)
    real = collect(data.prepare(found, spec, 1, "cpu").train.epoch(7, seed=3))
    quaternion = collect(data.prepare(found, spec, 4, "cpu").train.epoch(50, seed=3))
    plain = collect(data.prepare(found, DataSpec(name="cifar-10", crop=4, flip=True), 4, "cpu").train.epoch(50, seed=3))
    assert torch.equal(real[0], quaternion[0])
    assert torch.equal(real[0][:, :3], plain[0])
    assert torch.equal(real[1], quaternion[1])


def test_augmentation_and_order_are_separate_streams():
    found = image_set()
    plain = data.prepare(found, DataSpec(name="cifar-10"), 1, "cpu").train
    augmented = data.prepare(found, DataSpec(name="cifar-10", crop=4, flip=True), 1, "cpu").train
    assert plain._generator("order", 3).initial_seed() != plain._generator("augmentation", 3).initial_seed()
    assert torch.equal(collect(plain.epoch(7, seed=3))[1], collect(augmented.epoch(7, seed=3))[1])
    assert torch.equal(collect(plain.epoch(7, seed=3))[0], collect(augmented.epoch(7, seed=3, augment=False))[0])
    assert not torch.equal(collect(plain.epoch(7, seed=3))[0], collect(augmented.epoch(7, seed=3))[0])
    assert torch.equal(collect(augmented.epoch(7, seed=3))[0], collect(augmented.epoch(7, seed=3))[0])


def test_global_randomness_is_neither_used_nor_moved():
    train = data.prepare(image_set(), DataSpec(name="cifar-10", crop=4, flip=True), 1, "cpu").train
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = collect(train.epoch(7, seed=3))[0]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    assert torch.equal(first, collect(train.epoch(7, seed=3))[0])


@pytest.mark.parametrize(
    "spec", [DataSpec(name="cifar-10"), DataSpec(name="cifar-10", normalization="imagenet", crop=4, flip=True)]
)
def test_batches_are_in_order_and_never_augmented(spec):
    found = image_set()
    splits = data.prepare(found, spec, 1, "cpu")
    before = found.test_images.copy()
    images, labels = collect(splits.test.batches(6))
    constants = (
        (found.info.mean, found.info.std) if spec.normalization == "dataset" else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    assert np.allclose(images, normalised(found.test_images, *constants), atol=2e-6)
    assert labels.tolist() == found.test_labels.tolist() == splits.test.labels.tolist()
    assert len(splits.test) == 20
    assert [len(batch) for batch, _ in splits.test.batches(6)] == [6, 6, 6, 2]
    assert np.array_equal(found.test_images, before)
    assert splits.test.device == torch.device("cpu")


@pytest.mark.parametrize(("n", "channels"), [(1, 4), (2, 4), (4, 4), (8, 8)])
@pytest.mark.parametrize("encoding", ["grey", "zero"])
def test_added_channels(encoding, n, channels):
    found = image_set()
    spec = DataSpec(name="cifar-10", encoding=encoding)
    splits = data.prepare(found, spec, n, "cpu")
    assert (splits.channels, splits.image_size) == (channels, (32, 32))
    images, _ = collect(splits.test.batches(8))
    colours = normalised(found.test_images, found.info.mean, found.info.std)
    grey = 0.2989 * colours[:, :1] + 0.587 * colours[:, 1:2] + 0.114 * colours[:, 2:]
    fourth = grey if encoding == "grey" else np.zeros_like(grey)
    expected = np.concatenate([colours, fourth, *[np.zeros_like(grey)] * (channels - 4)], axis=1)
    assert np.allclose(images, expected, atol=2e-6)


def test_learned_leaves_the_three_colours_to_the_network():
    splits = data.prepare(image_set(), DataSpec(name="cifar-10", encoding="learned"), 4, "cpu")
    assert splits.channels == 3
    assert next(splits.test.batches(8))[0].shape == (8, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "n"), [("mnist", 1), ("mnist", 2), ("mnist", 4), ("mnist", 7), ("cifar-10", 4), ("cifar-10", 8)]
)
@pytest.mark.parametrize("flip", [False, True])
def test_pixels_become_components(name, n, flip):
    found = image_set(name)
    splits = data.prepare(found, DataSpec(name=name, encoding="pixels", flip=flip), n, "cpu")
    colours, size = found.info.channels, found.info.size
    assert (splits.channels, splits.image_size) == (n * colours, (size, size // n))
    images, _ = collect(splits.test.batches(8))
    assert images.shape == (20, n * colours, size, size // n)
    plain = normalised(found.test_images, found.info.mean, found.info.std)
    for component, colour, number in itertools.product(range(n), range(colours), range(size // n)):
        expected = plain[:, colour, :, n * number + component]
        assert np.allclose(images[:, component * colours + colour, :, number], expected, atol=1e-6)


def test_pixels_are_moved_after_crop_and_flip():
    found = image_set()
    pixels = data.prepare(found, DataSpec(name="cifar-10", encoding="pixels", crop=4, flip=True), 4, "cpu").train
    plain = data.prepare(found, DataSpec(name="cifar-10", crop=4, flip=True), 1, "cpu").train
    assert torch.equal(collect(pixels.epoch(7, seed=3))[0], interleave(collect(plain.epoch(7, seed=3))[0], 4))


def slow_crop_and_flip(image, padding, top, left, flip):
    """One image (C, H, W), in numpy."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    window = padded[:, top : top + height, left : left + width]
    return window[:, :, ::-1] if flip else window


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(0, 4), st.data())
def test_crop_and_flip_image_by_image(colours, height, width, padding, draw):
    count = draw.draw(st.integers(1, 4))
    images = np.random.default_rng(0).integers(1, 256, (count, colours, height, width), dtype=np.uint8)
    edge = st.lists(st.integers(0, 2 * padding), min_size=count, max_size=count)
    top, left = draw.draw(edge), draw.draw(edge)
    flip = draw.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    found = crop_and_flip(torch.from_numpy(images), padding, torch.tensor(top), torch.tensor(left), torch.tensor(flip))
    expected = np.stack([slow_crop_and_flip(*one) for one in zip(images, [padding] * count, top, left, flip, strict=True)])
    assert found.dtype == torch.uint8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("crop", "flip"), [(None, False), (None, True), pytest.param(2, False, marks=pytest.mark.slow), (2, True)]
)
def test_every_crop_and_flip_occurs_and_nothing_else(crop, flip):
    found = image_set("digits", train=720)
    found.train_images[:, 0, 0, 0] = 255  # not a number of an image here
    spec = DataSpec(name="digits", crop=crop, flip=flip)
    images, labels = collect(data.prepare(found, spec, 1, "cpu").train.epoch(100, seed=1))
    _, order = collect(data.prepare(replace_labels(found), spec, 1, "cpu").train.epoch(100, seed=1))
    mean, std = found.info.mean[0], found.info.std[0]
    bytes_ = ((images.double() * std + mean) * 255).round().to(torch.uint8).numpy()
    edges = range(2 * (crop or 0) + 1)
    choices = list(itertools.product(edges, edges, [False, True] if flip else [False]))
    counts = dict.fromkeys(choices, 0)
    for image, number in zip(bytes_, order.tolist(), strict=True):
        fits = [c for c in choices if np.array_equal(slow_crop_and_flip(found.train_images[number], crop or 0, *c), image)]
        assert len(fits) == 1
        counts[fits[0]] += 1
    expected = len(images) / len(choices)
    assert all(abs(count - expected) < 5 * expected**0.5 + 1e-9 for count in counts.values())
    assert torch.equal(labels, order % 10)


def replace_labels(found):
    """The same images, labelled by their number."""
    return ImageSet(
        info=found.info,
        train_images=found.train_images,
        train_labels=np.arange(len(found.train_labels)),
        test_images=found.test_images,
        test_labels=found.test_labels,
    )


@pytest.mark.parametrize("encoding", ["none", "grey"])
def test_validation_images_are_held_out_of_training_for_both_algebras(encoding):
    found = image_set(train=100)
    held_out = set()
    for n in (1, 4):
        spec = DataSpec(name="cifar-10", validation=20, encoding=encoding)
        splits = data.prepare(found, spec, n, "cpu")
        assert (len(splits.train), len(splits.validation), len(splits.test)) == (80, 20, 20)
        images, labels = collect(splits.validation.batches(7))
        validation = numbers(images, spec, found.info)
        assert np.bincount(labels).tolist() == [2] * 10
        assert labels.tolist() == [number % 10 for number in validation]
        images, labels = collect(splits.train.epoch(7, seed=0))
        train = numbers(images, spec, found.info)
        assert labels.tolist() == [number % 10 for number in train]
        in_order, labels = collect(splits.train.batches(7))
        assert numbers(in_order, spec, found.info) == sorted(train)
        assert labels.tolist() == splits.train.labels.tolist() == [number % 10 for number in sorted(train)]
        assert sorted(train + validation) == list(range(100))
        held_out.add(tuple(validation))
    assert len(held_out) == 1
    assert data.prepare(found, DataSpec(name="cifar-10"), 1, "cpu").validation is None


@pytest.mark.parametrize("count", [50, 51])
def test_validation_must_leave_something_to_train_on(count):
    with pytest.raises(
        UserError, match=rf"`data.validation` \(={count}\) must be less than the 50 training images of cifar-10"
    ):
        data.prepare(image_set(), DataSpec(name="cifar-10", validation=count), 1, "cpu")


def test_prepare_refuses_what_input_channels_refuses():
    with pytest.raises(UserError, match="adds to 3 colour channels, but mnist has 1"):
        data.prepare(image_set("mnist"), DataSpec(name="mnist", encoding="grey"), 4, "cpu")
    with pytest.raises(AssertionError, match="mnist was loaded, cifar-10 is asked for"):
        data.prepare(image_set("mnist"), DataSpec(name="cifar-10"), 4, "cpu")


class NoSynchronisation(TorchDispatchMode):
    """Fails on what makes the host wait for a GPU: values read back, and shapes that depend on values."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero", "repeat_interleave")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(func.name().startswith(f"aten::{name}") for name in self.WAITS), func.name()
        if func.name() == "aten::index.Tensor":
            assert all(index is None or index.dtype != torch.bool for index in args[1]), "a boolean index"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("encoding", ["none", "grey", "pixels"])
def test_a_gpu_would_never_be_waited_for(encoding):
    spec = DataSpec(name="cifar-10", encoding=encoding, crop=4, flip=True, validation=10)
    splits = data.prepare(image_set(), spec, 4, "cpu")
    with NoSynchronisation():
        for _ in splits.train.epoch(7, seed=3):
            pass
        for _ in splits.validation.batches(7):
            pass
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            torch.ones(1).item()
