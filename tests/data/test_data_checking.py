"""`fourfold data check`: what it says about every kind of file."""

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest

from fake_files import write_batch, write_cifar10, write_cifar100, write_mnist
from fourfold import data
from fourfold.data.official import SOURCES


def texts(findings):
    return {finding.what: (finding.state, finding.text) for finding in findings}


def make_official(monkeypatch, name, folder, **changes):
    """Let the files that lie in a folder count as the official ones."""
    files = tuple(replace(f, md5=hashlib.md5((folder / f.name).read_bytes()).hexdigest()) for f in SOURCES[name].files)
    monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], files=files))
    monkeypatch.setitem(data.DATASETS, name, replace(data.DATASETS[name], **changes))


def test_digits():
    (finding,) = data.check("digits")
    assert (finding.state, finding.text, finding.usable) == ("official", "part of scikit-learn, needs no files", True)


def test_official_files(tmp_path, monkeypatch):
    arrays = write_mnist(tmp_path)
    mean = (arrays["train_images"].mean() / 255,)
    make_official(monkeypatch, "mnist", tmp_path, train_images=30, test_images=20, mean=mean)
    findings = data.check("mnist", tmp_path)
    assert [finding.state for finding in findings] == ["official"] * 6
    found = texts(findings)
    assert found["train-images-idx3-ubyte.gz"][1] == "30 images, official checksum"
    assert found["t10k-labels-idx1-ubyte.gz"][1] == "20 labels, official checksum"
    assert found["training images"][1] == f"30 images, 10 classes of 3 images each, channel means {mean[0]:.4f} as official"
    assert findings[0].path == tmp_path / "train-images-idx3-ubyte.gz"
    assert findings[0].size == findings[0].path.stat().st_size


def test_right_form_but_other_bytes(tmp_path, monkeypatch):
    write_cifar100(tmp_path)
    make_official(monkeypatch, "cifar-100", tmp_path, train_images=200, test_images=100)
    fine = [number for number in range(100) if number != 2]
    write_batch(tmp_path / "test", 99, 32, fine_labels=fine, coarse_labels=fine)
    found = texts(data.check("cifar-100", tmp_path))
    assert found["train"][0] == "official"
    md5 = hashlib.md5((tmp_path / "test").read_bytes()).hexdigest()
    right = SOURCES["cifar-100"].files[1].md5
    assert found["test"] == ("differs", f"99 images, in the right form; MD5 {md5} where the official file has {right}")
    assert found["test images"][0] == "differs"
    assert found["test images"][1].startswith("99 images (official: 100), 99 classes (official: 100) of 1 images each, channel")
    write_batch(tmp_path / "test", 199, 32, fine_labels=[*fine, *range(100)], coarse_labels=fine)
    assert ", 100 classes of 2 images each but 1 of baby, " in texts(data.check("cifar-100", tmp_path))["test images"][1]


def test_other_training_images_have_other_means(tmp_path):
    write_cifar10(tmp_path)
    found = texts(data.check("cifar-10", tmp_path))
    assert found["training images"][1].endswith("(official: 0.4914 0.4822 0.4465)")
    assert found["training images"][1].startswith(
        "100 images (official: 50,000), 10 classes of 10 images each, channel means 0."
    )


def test_unpacked_idx_files_have_no_official_checksum(tmp_path):
    write_mnist(tmp_path, packed=False)
    found = texts(data.check("mnist", tmp_path))
    reason = "30 images, in the right form; unpacked, and the official checksum is that of train-images-idx3-ubyte.gz"
    assert found["train-images-idx3-ubyte.gz"] == ("differs", reason)


def test_imagenet_has_no_known_checksums(tmp_path):
    for name in [*(f"train_data_batch_{number}" for number in range(1, 11)), "val_data"]:
        write_batch(tmp_path / name, 2, 16, labels=[1, 2])
    found = texts(data.check("imagenet16", tmp_path))
    assert found["val_data"] == ("differs", "2 images, in the right form; no official checksum is known")
    assert found["training images"][1].startswith(
        "20 images (official: 1,281,167), 2 classes (official: 1000) of 10 images each, "
    )
    assert found["training images"][0] == "differs"


def test_broken_and_missing_files(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-py")
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_1").write_bytes(b"")
    (folder / "data_batch_2").unlink()
    (folder / "batches.meta").unlink()
    findings = data.check("cifar-10", tmp_path)
    found = texts(findings)
    remedy = "delete it, and `fourfold data get cifar-10` fetches it"
    assert found["data_batch_1"] == ("broken", f"is empty; a pickled dictionary is right; {remedy}")
    assert found["data_batch_2"] == ("missing", f"belongs in {folder}")
    assert found["batches.meta"] == ("missing", f"belongs in {folder}, but only class names would be in it")
    assert found["test_batch"][0] == "differs"
    assert "training images" not in found
    assert "test images" in found
    assert [finding.usable for finding in findings[:3]] == [False, False, True]


def test_files_that_do_not_go_together(tmp_path):
    write_mnist(tmp_path, train=30)
    write_mnist(tmp_path / "more", train=29)
    (tmp_path / "more/train-labels-idx1-ubyte.gz").replace(tmp_path / "train-labels-idx1-ubyte.gz")
    assert texts(data.check("mnist", tmp_path))["training images"] == ("broken", "30 images but 29 labels")


def test_a_hostile_file_is_broken_by_name(tmp_path):
    write_cifar10(tmp_path)
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": np.load}))
    state, text = texts(data.check("cifar-10", tmp_path))["batches.meta"]
    assert state == "broken"
    assert text.startswith("asks for numpy")


def test_real_files(real_data):
    if data.where("mnist", real_data) is None:
        pytest.skip("mnist is not in $FOURFOLD_DATA")
    findings = data.check("mnist", real_data)
    assert [finding.state for finding in findings] == ["official"] * 6
    assert findings[4].text == "60,000 images, 10 classes of 5,421 to 6,742 images, channel means 0.1307 as official"
