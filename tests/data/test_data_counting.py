"""Images in the data directory are counted without reading them, and a plan takes as many as there are."""

import pytest
import torch

from fake_files import write_cifar10, write_mnist
from fourfold import data, presets
from fourfold.data import counting, named
from fourfold.data.counting import Counts, counts_here
from fourfold.record import with_fields
from fourfold.timing.clock import Clock


@pytest.mark.parametrize("packed", [True, False])
def test_the_header_of_an_idx_file_is_counted(packed, tmp_path):
    write_mnist(tmp_path, train=600, test=100, packed=packed)
    assert counts_here("mnist", tmp_path) == Counts(train=600, test=100)
    images = data.load("mnist", tmp_path)
    assert (len(images.train_images), len(images.test_images)) == (600, 100)


def test_small_batches_are_counted_one_by_one(tmp_path):
    write_cifar10(tmp_path, images=20)
    images = data.load("cifar-10", tmp_path)
    assert counts_here("cifar-10", tmp_path) == Counts(train=len(images.train_images), test=len(images.test_images))


def test_large_batches_are_counted_by_their_bytes(tmp_path, monkeypatch):
    """Of the official size the official number, else as many as the pixels would be."""
    monkeypatch.setattr(counting, "MOST_READ", 0)
    pixels = 3 * 32 * 32
    for number, images in [*((number, 10_000) for number in range(1, 6)), (0, 5_000)]:
        path = tmp_path / "cifar-10-batches-py" / (f"data_batch_{number}" if number else "test_batch")
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.truncate(images * pixels * 101 // 100)
    assert counts_here("cifar-10", tmp_path) == Counts(train=50_000, test=5_050)


def test_folders_are_counted_by_their_lists(tmp_path):
    root = tmp_path / "tiny-imagenet-200"
    names = ["n00000001", "n00000002"]
    for name in names:
        (root / "train" / name / "images").mkdir(parents=True)
        for number in range(3):
            (root / "train" / name / "images" / f"{number}.JPEG").touch()
    (root / "wnids.txt").write_text("\n".join(names) + "\n")
    (root / "val").mkdir()
    (root / "val" / "val_annotations.txt").write_text("0.JPEG\tn00000001\t0\t0\t1\t1\n")
    assert counts_here("tiny-imagenet", tmp_path) == Counts(train=6, test=1)


@pytest.mark.parametrize("name", data.DATASETS)
def test_what_is_not_there_is_not_counted(name, tmp_path):
    assert counts_here(name, tmp_path) is None


def test_what_is_damaged_is_not_counted(tmp_path):
    write_mnist(tmp_path)
    file = next(tmp_path.rglob("train-images*"))
    file.write_bytes(b"")
    assert counts_here("mnist", tmp_path) is None


def test_a_plan_takes_as_many_items_as_there_are(tmp_path):
    write_mnist(tmp_path, train=600, test=100)
    spec = presets.get("lenet-300-100-mnist")
    some = with_fields(spec, {"data.classes": 5})
    here, nowhere = Clock(torch.device("cpu"), tmp_path), Clock(torch.device("cpu"), tmp_path / "nowhere")
    assert (here.items(spec), nowhere.items(spec)) == ((600, 100), (60_000, 10_000))
    assert (here.items(some), nowhere.items(some)) == ((300, 50), (30_000, 5_000))
    assert here.level_seconds(spec) < nowhere.level_seconds(spec) / 10


def test_every_named_set_is_described_and_found_in_any_of_its_places(tmp_path):
    assert list(named.NAMED) == list(named.READERS)
    for name, about in named.NAMED.items():
        assert about.title
        assert named.where_named(name, tmp_path) == ("not here" if about.places else "computed")
        for place in about.places:
            folder = tmp_path / name / place.replace("/", "-")
            (folder / place).parent.mkdir(parents=True)
            (folder / place).touch()
            assert named.where_named(name, folder) == str(folder / place)
