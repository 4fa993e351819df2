"""The digest of a data set: every image and label counts, and how they are stored does not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fake_files import write_batch, write_cifar10, write_mnist
from fourfold import data
from fourfold.data import digest

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def image_set(seed=0, **changes):
    random = np.random.default_rng(seed)
    arrays = {}
    for split, count in (("train", 30), ("test", 20)):
        arrays[f"{split}_images"] = random.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = random.integers(0, 10, count)
    return data.ImageSet(info=data.info("digits"), **arrays | changes)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.sampled_from(ARRAYS), st.integers(0, 10**6), st.integers(1, 9))
def test_every_pixel_and_every_label_counts(name, place, difference):
    whole = image_set()
    changed = getattr(whole, name).copy()
    flat = changed.reshape(-1)
    flat[place % flat.size] = (int(flat[place % flat.size]) + difference) % (10 if "labels" in name else 256)
    assert replace(whole, **{name: changed}).digest != whole.digest == image_set().digest


@pytest.mark.parametrize("count", [1, 29])
def test_a_subset_and_another_order_are_other_data(count):
    whole = image_set()
    part = {name: getattr(whole, name)[:count] for name in ARRAYS[:2]}
    turned = {name: getattr(whole, name)[::-1] for name in ARRAYS[:2]}
    assert len({whole.digest, image_set(**part).digest, image_set(**turned).digest}) == 3


def test_gzipped_and_plain_files_are_the_same_data(tmp_path):
    write_mnist(tmp_path / "a" / "MNIST" / "raw")
    write_mnist(tmp_path / "b", packed=False)
    write_mnist(tmp_path / "c", packed=False, seed=1)
    a, b, c = (data.load("mnist", tmp_path / name).digest for name in "abc")
    assert a == b != c


def test_batches_of_cifar_have_a_digest_of_all_files(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-py")
    before = data.load("cifar-10", tmp_path).digest
    for name in ("data_batch_4", "test_batch"):
        write_batch(tmp_path / "cifar-10-batches-py" / name, 20, 32, seed=99, labels=[0] * 20)
        after = data.load("cifar-10", tmp_path).digest
        assert before != after
        before = after


def write_imagenet16(folder):
    for number in range(1, 11):
        labels = [1 + (7 * number + k) % 1000 for k in range(4 + number)]
        write_batch(folder / f"train_data_batch_{number}", len(labels), 16, seed=number, labels=labels)
    write_batch(folder / "val_data", 30, 16, seed=11, labels=list(range(1, 31)))


def write_tiny_imagenet(root):
    names = ["n00000001", "n00000002"]
    random = np.random.default_rng(0)
    (root / "val" / "images").mkdir(parents=True)
    for name in names:
        (root / "train" / name / "images").mkdir(parents=True)
        for number in range(3):
            image = Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            image.save(root / "train" / name / "images" / f"{name}_{number}.JPEG")
            image.save(root / "val" / "images" / f"val_{name}{number}.JPEG")
    (root / "wnids.txt").write_text("\n".join(names) + "\n")
    lines = [f"val_{name}{number}.JPEG\t{name}\t0\t0\t62\t62\n" for name in names for number in range(3)]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))


@pytest.mark.parametrize("name", ["imagenet16", "tiny-imagenet"])
def test_packed_files_are_the_data_that_they_were_packed_from(name, tmp_path):
    if name == "imagenet16":
        write_imagenet16(tmp_path / "Imagenet16")
    else:
        write_tiny_imagenet(tmp_path / "tiny-imagenet-200")
    before = data.load(name, tmp_path)
    list(data.pack(name, tmp_path))
    packed = data.load(name, tmp_path)
    assert isinstance(packed.train_images, np.memmap)
    assert packed.digest == before.digest
    (folder,) = tmp_path.glob("*-packed")
    for file in ("train.images", "test.labels"):
        content = bytearray((folder / file).read_bytes())
        content[-2] ^= 1
        (folder / file).write_bytes(content)
        changed = data.load(name, tmp_path)
        assert changed.digest != packed.digest
        packed = changed


def test_the_images_that_are_read_of_a_large_file_are_spread_over_it_and_few():
    for count in (1, 2, 4095, 4096, 4097, 1_281_167):
        chosen = digest._spaced(count)
        assert len(chosen) == min(count, digest.SAMPLED)
        assert (chosen[0], chosen[-1]) == (0, count - 1)
        assert np.diff(chosen).max(initial=1) <= count // digest.SAMPLED + 1
