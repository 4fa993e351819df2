"""Some classes of a data set are a data set of their own."""

import numpy as np
import pytest
import torch

from fake_files import write_batch
from fourfold import data
from fourfold.data import subset
from fourfold.record import DataSpec, UserError


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def images_of(split):
    batches = [(images.clone(), labels) for images, labels in split.batches(50)]
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def test_the_images_are_those_of_the_classes_with_labels_from_0(digits):
    whole = data.prepare(digits, DataSpec(name="digits"), 1, "cpu")
    part = data.prepare(digits, DataSpec(name="digits", classes=(1, 4, 9)), 1, "cpu")
    for all_of, some in ((whole.train, part.train), (whole.test, part.test)):
        images, labels = images_of(all_of)
        mine, mine_labels = images_of(some)
        kept = torch.isin(labels, torch.tensor([1, 4, 9]))
        assert torch.equal(mine, images[kept])
        assert torch.equal(torch.tensor([1, 4, 9])[mine_labels], labels[kept])


def test_held_out_images_are_of_the_classes_too(digits):
    spec = DataSpec(name="digits", classes=(1, 4, 9), validation=30)
    splits = data.prepare(digits, spec, 1, "cpu")
    assert np.bincount(splits.validation.labels).tolist() == [10, 10, 10]
    together = torch.cat([images_of(splits.train)[0], images_of(splits.validation)[0]])
    whole, _ = images_of(data.prepare(digits, DataSpec(name="digits", classes=(1, 4, 9)), 1, "cpu").train)
    assert sorted(map(bytes, together.numpy())) == sorted(map(bytes, whole.numpy()))
    count = len(whole)
    with pytest.raises(UserError, match=rf"`data\.validation` \(={count}\) must be less than the {count} training images"):
        data.prepare(digits, DataSpec(name="digits", classes=(1, 4, 9), validation=count), 1, "cpu")


def test_a_number_of_classes_is_always_the_same_ones():
    ten = subset.chosen_classes(DataSpec(name="cifar-100", classes=10))
    assert ten.tolist() == sorted(set(ten.tolist()))
    assert ten.tolist() == sorted(np.random.RandomState(0).permutation(100)[:10].tolist())
    twenty = subset.chosen_classes(DataSpec(name="cifar-100", classes=20))
    assert set(ten.tolist()) < set(twenty.tolist())


def test_what_is_known_of_some_classes():
    spec = DataSpec(name="cifar-10", classes=(0, 9))
    about = data.info_for(spec)
    assert (about.num_classes, about.class_names, about.train_images) == (2, ("airplane", "truck"), 10_000)
    assert data.info_for(DataSpec(name="cifar-10")) == data.info("cifar-10")
    assert data.info_for(DataSpec(name="imagenet64", classes=100)).test_images == 5_000


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (11, r"^`data\.classes` \(=11\) must be at most the 10 classes of digits$"),
        ((1, 10), r"^`data\.classes` \(=10\) must be labels of digits, 0 to 9$"),
    ],
)
def test_classes_that_are_not_there_are_one_sentence(classes, sentence):
    with pytest.raises(UserError, match=sentence):
        data.info_for(DataSpec(name="digits", classes=classes))


def test_packed_images_of_some_classes_are_read_without_the_others(tmp_path):
    for number in range(1, 11):
        write_batch(tmp_path / "Imagenet16" / f"train_data_batch_{number}", 6, 16, seed=number, labels=[1, 2, 3, 4, 5, 6])
    write_batch(tmp_path / "Imagenet16" / "val_data", 6, 16, seed=99, labels=[1, 2, 3, 4, 5, 6])
    list(data.pack("imagenet16", tmp_path))
    found = data.load("imagenet16", tmp_path)
    spec = DataSpec(name="imagenet16", classes=(1, 4), validation=4, crop=2, flip=True)
    resident, read = (data.prepare(found, spec, 1, "cpu", stream=stream) for stream in (False, True))
    assert (resident.train.in_memory, read.train.in_memory) == (True, False)
    assert len(resident.train._images) == 20
    for mine, other in ((read.train, resident.train), (read.validation, resident.validation), (read.test, resident.test)):
        assert all(torch.equal(a, b) for a, b in zip(images_of(mine), images_of(other), strict=True))
    for (mine, labels), (images, their_labels) in zip(read.train.epoch(7, 1), resident.train.epoch(7, 1), strict=True):
        assert torch.equal(mine, images)
        assert torch.equal(labels, their_labels)
