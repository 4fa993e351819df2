"""Images read from disk make the very batches of images in memory."""

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_files import write_batch
from fourfold import data
from fourfold.data import streamed
from fourfold.data.damage import BadFileError
from fourfold.data.streamed import BUFFERS, Rows, Streamed
from fourfold.record import DataSpec, TrainSpec
from fourfold.train import train
from fourfold.train.engines import CudaGraph, Setup

NAME = "imagenet16"
IMAGES = 60


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A packed data set of 60 training images in ten shards and 7 test images."""
    folder = tmp_path_factory.mktemp("packed")
    for number in range(1, 11):
        labels = [(number * k) % 5 + 1 for k in range(6)]
        write_batch(folder / "Imagenet16" / f"train_data_batch_{number}", 6, 16, seed=number, labels=labels)
    write_batch(folder / "Imagenet16" / "val_data", 7, 16, seed=99, labels=[1, 2, 3, 4, 5, 1, 2])
    list(data.pack(NAME, folder))
    return data.load(NAME, folder)


def both(packed, spec, n=1):
    return [data.prepare(packed, spec, n, "cpu", stream=stream) for stream in (False, True)]


def check_equal(mine, theirs):
    mine, theirs = ([(images.clone(), labels) for images, labels in batches] for batches in (mine, theirs))
    assert len(mine) == len(theirs)
    for (images, labels), (other_images, other_labels) in zip(mine, theirs, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


@pytest.mark.parametrize(
    "spec",
    [
        DataSpec(name=NAME),
        DataSpec(name=NAME, encoding="grey", crop=2, flip=True, validation=11),
        DataSpec(name=NAME, encoding="pixels"),
        DataSpec(name=NAME, encoding="pixels", crop=3, validation=20, normalization="imagenet"),
    ],
    ids=["plain", "augmented", "pixels", "all"],
)
def test_batches_are_those_of_images_in_memory_bit_for_bit(spec, packed):
    resident, read = both(packed, spec, 4)
    assert isinstance(read.train, Streamed)
    assert (read.channels, read.image_size) == (resident.channels, resident.image_size)
    for batch_size, seed in itertools.product((1, 7, 64), (0, 2**40)):
        check_equal(read.train.epoch(batch_size, seed), resident.train.epoch(batch_size, seed))
        check_equal(read.train.batches(batch_size), resident.train.batches(batch_size))
        check_equal(read.test.batches(batch_size), resident.test.batches(batch_size))
    check_equal(read.train.epoch(7, 5, augment=False), resident.train.epoch(7, 5, augment=False))
    if spec.validation:
        check_equal(read.validation.batches(7), resident.validation.batches(7))
    order = read.train.order(3)
    for chosen in (slice(2, 9), torch.tensor([5, 0, 5])):
        check_equal([read.train.batch(order, chosen)], [resident.train.batch(resident.train.order(3), chosen)])
    assert (len(read.train), read.train.device) == (len(resident.train), resident.train.device)
    assert (resident.train.in_memory, read.train.in_memory) == (True, False)


def test_shares_of_several_processes_are_the_places_of_whole_batches(packed):
    splits = both(packed, DataSpec(name=NAME, encoding="pixels", crop=2, flip=True), 4)
    whole = list(splits[0].train.epoch(19, 5))  # the last batch has three images
    assert len(whole[-1][1]) == 3
    for rank in range(4):

        def share(places, rank=rank):
            mine = torch.arange(places.start, places.stop).tensor_split(4)[rank]
            return slice(int(mine[0]), int(mine[-1]) + 1) if len(mine) else slice(places.stop, places.stop)

        expected = [(images.tensor_split(4)[rank], labels) for images, labels in whole]
        for split in splits:
            check_equal(split.train.epoch(19, 5, share=share), expected)
            check_equal(split.test.batches(2, rank, 4), list(splits[0].test.batches(2))[rank::4])


def test_a_network_trains_to_the_same_weights(packed):
    ends = []
    for splits in both(packed, DataSpec(name=NAME, crop=2, flip=True, validation=10)):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 5))
        trained = train(network, splits, TrainSpec(epochs=3, batch_size=8), seed_of_epoch=lambda epoch: epoch)
        ends.append((network[1].weight, trained.epochs, trained.test, trained.validation))
    assert torch.equal(ends[0][0], ends[1][0])
    assert ends[0][1:] == ends[1][1:]


def threads():
    return [thread for thread in threading.enumerate() if "_read" in thread.name]


def test_no_more_is_read_ahead_than_there_are_buffers_and_the_thread_ends(packed, monkeypatch):
    read = []
    original = Rows.read
    monkeypatch.setattr(
        Rows, "read", lambda self, members, target: read.append(target.ctypes.data) or original(self, members, target)
    )
    images = both(packed, DataSpec(name=NAME))[1].train
    batches = images.epoch(2, seed=0)
    next(batches)
    assert len(threads()) == 1
    late = time.monotonic() + 60
    while len(read) < BUFFERS:
        assert time.monotonic() < late
        time.sleep(0.002)
    time.sleep(0.05)  # time to read more than it should
    assert len(read) == BUFFERS
    batches.close()
    assert threads() == []
    assert len(list(images.epoch(2, seed=0))) == IMAGES // 2
    assert len(set(read[BUFFERS:])) == BUFFERS
    assert threads() == []


def test_a_file_that_became_shorter_is_named(tmp_path, packed):
    path = tmp_path / "train.images"
    path.write_bytes(bytes(packed.train_images.nbytes))
    rows = Rows(path, packed.train_images.shape)
    images = Streamed(
        rows,
        torch.zeros(IMAGES, dtype=torch.int64),
        None,
        spec=DataSpec(name=NAME),
        mean=(0.5,) * 3,
        std=(1,) * 3,
        n=1,
        channels=3,
    )
    assert len(list(images.batches(7))) == 9
    path.write_bytes(bytes(768 * 20))
    with pytest.raises(BadFileError, match=r"train\.images has become shorter; delete its folder to pack it anew"):
        list(images.batches(7))
    assert threads() == []


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.integers(0, IMAGES - 1), min_size=1, max_size=20))
def test_any_images_in_any_order_and_neighbours_at_once(packed, members):
    rows = Rows(Path(packed.train_images.filename), packed.train_images.shape)
    chosen = np.array(members)
    target = np.empty((len(members), 3, 16, 16), np.uint8)
    rows.read(chosen, target)
    assert np.array_equal(target, packed.train_images[chosen])
    runs = streamed._runs(chosen)
    assert [first + k for _, first, count in runs for k in range(count)] == members
    assert all(a[1] + a[2] != b[1] for a, b in itertools.pairwise(runs))


def test_what_fits_into_memory_is_kept_there(packed, monkeypatch):
    assert data.prepare(packed, DataSpec(name=NAME), 1, "cpu").train.in_memory
    monkeypatch.setattr(streamed, "MEMORY_USED", 1e-9)
    prepared = data.prepare(packed, DataSpec(name=NAME), 1, "cpu")
    assert (prepared.train.in_memory, prepared.test.in_memory) == (False, False)
    in_memory = data.ImageSet(
        info=packed.info,
        train_images=np.array(packed.train_images),
        train_labels=packed.train_labels,
        test_images=np.array(packed.test_images),
        test_labels=packed.test_labels,
    )
    assert data.prepare(in_memory, DataSpec(name=NAME), 1, "cpu").train.in_memory


def test_images_on_disk_are_never_recorded(packed):
    class Recording(CudaGraph):
        device_type = "cpu"

    resident, read = both(packed, DataSpec(name=NAME))
    for splits, recorded in ((resident, True), (read, False)):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 5))
        reason = Recording.declines(Setup(network=network, splits=splits, spec=TrainSpec(batch_size=8)))
        assert reason == (None if recorded else "its images are read from disk")
