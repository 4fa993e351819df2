"""`load`: every layout, every mistake in a file, and the real files where there are any."""

import contextlib
import gzip
import pickle
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_files import IDX_NAMES, idx_bytes, write_batch, write_cifar10, write_cifar100, write_mnist
from fourfold import data
from fourfold.data import images
from fourfold.data.idx import read_idx
from fourfold.data.official import SOURCES
from fourfold.record import UserError

zipped = partial(gzip.compress, mtime=0)
"""The same bytes every second: they are in the names of tests."""

TRAIN_IMAGES = f"{IDX_NAMES['train_images']}.gz"
TRAIN_LABELS = f"{IDX_NAMES['train_labels']}.gz"


def check_types(found):
    about = found.info
    for pixels, labels in ((found.train_images, found.train_labels), (found.test_images, found.test_labels)):
        assert pixels.dtype == np.uint8
        assert labels.dtype == np.int64
        assert pixels.shape == (len(labels), about.channels, about.size, about.size)
        assert pixels.flags.writeable  # torch warns of arrays that are not
        assert labels.min() >= 0
        assert labels.max() < about.num_classes
    assert found.class_names == about.class_names


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "MNIST/raw"),
        ("mnist", "MNIST"),
        ("mnist", "."),
        ("fashion-mnist", "FashionMNIST/raw"),
        ("fashion-mnist", "FashionMNIST"),
        ("fashion-mnist", "."),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read_wherever_they_lie(tmp_path, name, folder, packed):
    written = write_mnist(tmp_path / folder, packed=packed)
    found = data.load(name, tmp_path)
    check_types(found)
    assert np.array_equal(found.train_images[:, 0], written["train_images"])
    assert np.array_equal(found.train_labels, written["train_labels"])
    assert np.array_equal(found.test_images[:, 0], written["test_images"])
    assert np.array_equal(found.test_labels, written["test_labels"])


def test_the_gzipped_file_and_the_proper_folder_come_first(tmp_path):
    first = write_mnist(tmp_path / "MNIST/raw", seed=1)
    write_mnist(tmp_path / "MNIST/raw", seed=2, packed=False)
    write_mnist(tmp_path, seed=3)
    assert np.array_equal(data.load("mnist", tmp_path).train_images[:, 0], first["train_images"])


def test_mnist_is_not_taken_for_fashion(tmp_path, monkeypatch):
    write_mnist(tmp_path)
    labels = data.load("fashion-mnist", tmp_path).train_labels
    monkeypatch.setattr(images, "_MNIST_LABELS", images._checksum(labels))
    data.load("mnist", tmp_path)
    with pytest.raises(UserError, match=r"are MNIST's, which have the same names; put Fashion-MNIST's into FashionMNIST/raw"):
        data.load("fashion-mnist", tmp_path)


def test_cifar_10(tmp_path):
    written = write_cifar10(tmp_path / "cifar-10-batches-py")
    found = data.load("cifar-10", tmp_path)
    check_types(found)
    assert np.array_equal(found.train_images.reshape(100, -1), np.concatenate(written[:5]))
    assert np.array_equal(found.test_images.reshape(20, -1), written[5])
    assert np.array_equal(found.train_labels, np.tile(np.arange(20) % 10, 5))
    # The same pixel by hand: green, row 2, column 5 of the third image of the second batch.
    assert found.train_images[22, 1, 2, 5] == written[1][2, 1024 + 2 * 32 + 5]


def test_cifar_100_has_classes_and_superclasses(tmp_path):
    write_cifar100(tmp_path / "cifar-100-python")
    fine, coarse = data.load("cifar-100", tmp_path), data.load("cifar-100-coarse", tmp_path)
    check_types(fine)
    check_types(coarse)
    assert np.array_equal(fine.train_images, coarse.train_images)
    assert np.array_equal(fine.train_labels % 20, coarse.train_labels)
    assert set(fine.test_labels) == set(range(100))
    assert set(coarse.test_labels) == set(range(20))


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("folders", [("", ""), ("_train", "_val"), (None, None)])
def test_imagenet_labels_begin_at_one_in_the_files_and_at_zero_here(tmp_path, size, folders):
    train, val = (tmp_path if end is None else tmp_path / f"Imagenet{size}{end}" for end in folders)
    for number in range(1, 11):
        write_batch(train / f"train_data_batch_{number}", 2, size, seed=number, labels=[number, 1000], mean=np.zeros(3))
    written = write_batch(val / "val_data", 3, size, labels=[1, 2, 1000])
    found = data.load(f"imagenet{size}", tmp_path)
    check_types(found)
    assert found.train_labels.tolist() == [label for number in range(10) for label in (number, 999)]
    assert found.test_labels.tolist() == [0, 1, 999]
    assert np.array_equal(found.test_images.reshape(3, -1), written)
    assert found.notices == (
        f"imagenet{size} is not the official data: it has 11 of 1,000 classes, 20 of 1,281,167 training images, "
        f"3 of 50,000 test images; see `fourfold data check imagenet{size}`",
    )


def test_labels_may_be_an_array(tmp_path):
    write_cifar10(tmp_path)
    write_batch(tmp_path / "test_batch", 3, 32, labels=np.array([3, 1, 2], dtype=np.uint8))
    assert data.load("cifar-10", tmp_path).test_labels.tolist() == [3, 1, 2]


def official(monkeypatch, name, **changes):
    monkeypatch.setitem(data.DATASETS, name, replace(data.DATASETS[name], **changes))


def test_the_official_data_give_no_notice_and_other_sizes_do(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    official(monkeypatch, "cifar-10", train_images=100, test_images=20)
    source = SOURCES["cifar-10"]
    files = tuple(replace(file, size=(tmp_path / file.name).stat().st_size) for file in source.files)
    monkeypatch.setitem(SOURCES, "cifar-10", replace(source, files=files))
    assert data.load("cifar-10", tmp_path).notices == ()
    write_batch(tmp_path / "test_batch", 20, 32, labels=[1] * 20, more="text")
    (notice,) = data.load("cifar-10", tmp_path).notices
    assert "bytes in test_batch; see `fourfold data check cifar-10`" in notice


def test_mnist_with_other_labels_gives_a_notice(tmp_path, monkeypatch):
    write_mnist(tmp_path, packed=False)
    official(monkeypatch, "mnist", train_images=30, test_images=20)
    assert data.load("mnist", tmp_path).notices == (
        "mnist is not the official data: it has other training labels; see `fourfold data check mnist`",
    )


# Mistakes in idx files


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (TRAIN_IMAGES, b"", "has only 0 bytes; an idx file of images begins with more"),
        (TRAIN_IMAGES, b"no gzip", r"is cut off or damaged \(Not a gzipped file"),
        (TRAIN_IMAGES, zipped(idx_bytes(np.zeros((3, 28, 28))))[:-9], r"is cut off or damaged \(Compressed file ended"),
        (TRAIN_IMAGES, zipped(bytes(10)), "has only 10 bytes; an idx file of images begins with more"),
        (
            TRAIN_IMAGES,
            zipped(idx_bytes(np.zeros(99))),
            "begins with 0x00000801; an idx file of images begins with 0x00000803",
        ),
        (
            TRAIN_LABELS,
            zipped(idx_bytes(np.zeros((2, 2, 2)))),
            "begins with 0x00000803; an idx file of labels begins with 0x00000801",
        ),
        (TRAIN_IMAGES, zipped(idx_bytes(np.zeros((3, 32, 30)))), "holds images of 32×30; 28×28 is right"),
        (
            TRAIN_IMAGES,
            zipped(idx_bytes(np.zeros((0, 28, 28)))),
            "says that it holds 0 images; 1 to 1,200,000 is right",
        ),
        (TRAIN_IMAGES, zipped(struct.pack(">4I", 0x803, 2**32 - 1, 28, 28)), "says that it holds 4,294,967,295 images"),
        (
            TRAIN_IMAGES,
            zipped(idx_bytes(np.zeros((3, 28, 28)))[:-5]),
            "has only 2,347 bytes of images; 2,352 for the 3 images",
        ),
        (
            TRAIN_IMAGES,
            zipped(idx_bytes(np.zeros((3, 28, 28))) + b"x"),
            "has more bytes of images; 2,352 for the 3 images",
        ),
        (TRAIN_LABELS, zipped(idx_bytes(np.zeros(7))), "holds 7 labels; 30, one for each image in train-images"),
        (TRAIN_LABELS, zipped(idx_bytes(np.full(30, 10))), "holds the label 10; 0 to 9 is right"),
    ],
)
def test_mistakes_in_idx_files(tmp_path, name, content, sentence):
    write_mnist(tmp_path / "MNIST/raw")
    (tmp_path / "MNIST/raw" / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"MNIST/raw/{name} {sentence}.*; `fourfold data check mnist` looks at every file"):
        data.load("mnist", tmp_path)


def test_a_changed_pixel_fails_gzips_own_checksum(tmp_path):
    path = tmp_path / "images.gz"
    content = bytearray(zipped(idx_bytes(np.zeros((3, 28, 28))), compresslevel=0))
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is cut off or damaged \(CRC check failed"):
        read_idx(path, (28, 28))


def test_a_file_that_cannot_be_opened(tmp_path):
    (tmp_path / "labels").mkdir()
    with pytest.raises(UserError, match=r"labels cannot be read \(it is not a file\); a readable file is right"):
        read_idx(tmp_path / "labels", ())


@settings(derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.integers(0, 10**6), st.binary(max_size=6), st.integers(0, 8))
def test_a_mutated_idx_file_is_read_or_refused_and_nothing_else(tmp_path, packed, place, new, removed):
    content = idx_bytes(np.arange(18).reshape(2, 3, 3))
    content = zipped(content) if packed else content
    place %= len(content) + 1
    path = tmp_path / ("images.gz" if packed else "images")
    path.write_bytes(content[:place] + new + content[place + removed :])
    with contextlib.suppress(UserError):
        assert read_idx(path, (3, 3)).shape[1:] == (3, 3)


# Mistakes in batches


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"data": np.zeros((2, 3072), np.uint8)}, r"has no entry 'labels' \(only data\); CIFAR-10 has one"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [1, 2]}, r"has no entry 'labels' \(only data, fine_labels\)"),
        ({}, r"has no entry 'data' \(only none\)"),
        ({"data": [1], "labels": [1]}, r"holds images as a list; uint8 of shape \(images, 3072\) is right"),
        ({"data": np.zeros((2, 3072)), "labels": [1, 2]}, r"holds images as float64 of shape \(2, 3072\); uint8 of"),
        ({"data": np.zeros((2, 12288), np.uint8), "labels": [1, 2]}, r"holds images as uint8 of shape \(2, 12288\)"),
        ({"data": np.zeros((2, 3, 1024), np.uint8), "labels": [1, 2]}, r"holds images as uint8 of shape \(2, 3, 1024\)"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, r"holds images as uint8 of shape \(0, 3072\)"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2, 3]}, "holds 3 labels; 2, one for each image, is right"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}, "holds the label 10; 0 to 9 is right"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, -1]}, "holds the label -1; 0 to 9 is right"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2**70]}, "holds the label 1180591620717411303424; 0 to 9"),
        (
            {"data": np.zeros((2, 3072), np.uint8), "labels": [1, "2"]},
            "holds labels that are not integers; 0 to 9 is right",
        ),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, True]}, "holds labels that are not integers"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": np.array([1.0, 2.0])}, "holds labels that are not integers"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": None}, "holds labels that are not integers"),
    ],
)
def test_mistakes_in_batches(tmp_path, entries, sentence):
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps(entries))
    with pytest.raises(UserError, match=rf"data_batch_3 {sentence}.*; `fourfold data check cifar-10` looks at every file"):
        data.load("cifar-10", tmp_path)


def test_an_imagenet_label_of_zero_is_refused(tmp_path):
    for name in [*(f"train_data_batch_{number}" for number in range(1, 11)), "val_data"]:
        write_batch(tmp_path / name, 2, 16, labels=[0, 1])
    with pytest.raises(UserError, match="train_data_batch_1 holds the label 0; 1 to 1000 is right"):
        data.load("imagenet16", tmp_path)


# Where files lie


def test_the_data_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURFOLD_DATA", str(tmp_path / "variable"))
    assert data.data_directory(tmp_path) == tmp_path
    assert data.data_directory() == tmp_path / "variable"
    assert data.data_directory(Path("~/images")) == Path.home() / "images"
    monkeypatch.delenv("FOURFOLD_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data.data_directory().name == "fourfold"


def test_the_variable_is_used(tmp_path, monkeypatch):
    write_mnist(tmp_path)
    monkeypatch.setenv("FOURFOLD_DATA", str(tmp_path))
    assert len(data.load("mnist").train_labels) == 30


def test_missing_files_are_named(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py/data_batch_4").unlink()
    (tmp_path / "cifar-10-batches-py/batches.meta").unlink()  # not needed
    with pytest.raises(
        UserError, match=r"\(data_batch_4 is missing\); `fourfold data get cifar-10` downloads it, or name the folder"
    ):
        data.load("cifar-10", tmp_path, download=False)


def test_imagenet_says_where_to_get_it(tmp_path):
    sentence = r"imagenet64 is not in .*; get `Downsampled image data \(64x64\)` from https://image-net.org/download-images.php"
    for act in (data.load, data.download):
        with pytest.raises(UserError, match=sentence) as caught:
            act("imagenet64", tmp_path)
        assert f"into {tmp_path}/Imagenet64" in str(caught.value)


def test_the_listing(tmp_path):
    write_mnist(tmp_path / "MNIST/raw")
    found = {about.name: where for about, where in data.listing(tmp_path)}
    assert list(found) == list(data.DATASETS)
    assert found["digits"] == "part of scikit-learn"
    assert found["mnist"] == str(tmp_path / "MNIST/raw")
    assert found["cifar-10"] == "not here"
    assert data.where("digits", tmp_path) is None


# Digits, and the real files


def test_digits_are_all_there_and_split_by_class():
    from sklearn.datasets import load_digits

    found = data.load("digits")
    check_types(found)
    assert found.notices == ()
    assert (len(found.train_labels), len(found.test_labels)) == (found.info.train_images, found.info.test_images)
    assert found.test_images.max() == 255
    whole = load_digits()
    expected = sorted(
        (int(label), *np.round(image.ravel() * 255 / 16).astype(int))
        for label, image in zip(whole.target, whole.images, strict=True)
    )
    both = [(found.train_labels, found.train_images), (found.test_labels, found.test_images)]
    rows = sorted(
        (int(label), *image.ravel().tolist()) for labels, pixels in both for label, image in zip(labels, pixels, strict=True)
    )
    assert rows == expected
    shares = np.bincount(found.test_labels) / np.bincount(whole.target)
    assert np.abs(shares - 360 / 1797).max() < 0.005
    assert np.allclose(found.train_images.mean() / 255, found.info.mean, atol=1e-7)
    assert np.allclose(found.train_images.std() / 255, found.info.std, atol=1e-7)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar-10", "cifar-100"])
def test_real_data_have_the_constants_of_the_table(real_data, name):
    if data.where(name, real_data) is None:
        pytest.skip(f"{name} is not in $FOURFOLD_DATA")
    found = data.load(name, real_data, download=False)
    check_types(found)
    counts = [np.bincount(found.train_images[:, channel].ravel(), minlength=256) for channel in range(found.info.channels)]
    for channel, count in enumerate(counts):
        mean = (count * np.arange(256)).sum() / count.sum() / 255
        std = ((count * np.arange(256) ** 2).sum() / count.sum() / 255**2 - mean**2) ** 0.5
        assert abs(mean - found.info.mean[channel]) < 1e-6
        assert abs(std - found.info.std[channel]) < 1e-6


def test_real_cifar_10_is_read_as_python_reads_it(real_data):
    if (folder := data.where("cifar-10", real_data)) is None:
        pytest.skip("cifar-10 is not in $FOURFOLD_DATA")
    found = data.load("cifar-10", real_data, download=False)
    batch = pickle.loads((folder / "test_batch").read_bytes(), encoding="latin1")
    assert np.array_equal(found.test_images.reshape(10000, -1), batch["data"])
    assert found.test_labels.tolist() == batch["labels"]
    meta = pickle.loads((folder / "batches.meta").read_bytes(), encoding="latin1")
    assert list(found.class_names) == meta["label_names"]


def test_real_cifar_100_class_names(real_data):
    if (folder := data.where("cifar-100", real_data)) is None:
        pytest.skip("cifar-100 is not in $FOURFOLD_DATA")
    meta = pickle.loads((folder / "meta").read_bytes(), encoding="latin1")
    assert [name.replace(" ", "_") for name in data.info("cifar-100").class_names] == meta["fine_label_names"]
    assert [name.replace(" ", "_") for name in data.info("cifar-100-coarse").class_names] == meta["coarse_label_names"]


def test_real_imagenet(real_data):
    if data.where("imagenet64", real_data) is None:
        pytest.skip("imagenet64 is not in $FOURFOLD_DATA")
    check_types(data.load("imagenet64", real_data, download=False))
