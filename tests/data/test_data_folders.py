"""Tiny-ImageNet in its published folders, written here with a few images."""

import io

import numpy as np
import pytest
from PIL import Image

from fourfold import data
from fourfold.data.damage import BadFileError
from fourfold.data.folders import read_folder
from fourfold.record import UserError

CLASSES = ("n02124075", "n01443537", "n04067472")  # not in the order of their names, as in the real list
NAME = "tiny-imagenet"


def jpeg(seed, size=64, grey=False):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size) if grey else (size, size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)


@pytest.fixture
def tiny(tmp_path):
    """Four training images a class, one of them grey, and three validation images."""
    root = tmp_path / "tiny-imagenet-200"
    for seed, name in enumerate(CLASSES):
        (root / "train" / name / "images").mkdir(parents=True)
        (root / "train" / name / f"{name}_boxes.txt").write_text("")
        for number in range(4):
            content = jpeg(10 * seed + number, grey=number == 3)
            (root / "train" / name / "images" / f"{name}_{number}.JPEG").write_bytes(content)
    (root / "wnids.txt").write_text("\n".join(CLASSES) + "\n")
    (root / "val" / "images").mkdir(parents=True)
    for number in range(3):
        (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(jpeg(100 + number))
    lines = [f"val_{number}.JPEG\t{CLASSES[number]}\t0\t10\t20\t63\n" for number in (2, 0, 1)]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return tmp_path


def test_images_and_labels_are_those_of_the_folders(tiny):
    found = data.load(NAME, tiny)
    assert found.train_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.test_labels.tolist() == [2, 1, 0]  # n04067472, n02124075, n01443537
    for label, name in enumerate(sorted(CLASSES)):
        for number in range(4):
            content = (tiny / "tiny-imagenet-200" / "train" / name / "images" / f"{name}_{number}.JPEG").read_bytes()
            assert np.array_equal(found.train_images[4 * label + number], decoded(content))
    assert np.array_equal(found.test_images[0], decoded(jpeg(102)))
    assert (found.train_images.dtype, found.test_images.shape) == (np.uint8, (3, 3, 64, 64))
    assert found.notices[0].startswith("tiny-imagenet is not the official data: it has 3 of 200 classes, 12 of 100,000")
    assert data.where(NAME, tiny) == tiny / "tiny-imagenet-200"


def test_packed_images_are_the_same(tiny):
    expected = data.load(NAME, tiny)
    assert list(data.pack(NAME, tiny)) == [(0, 2), (1, 2), (2, 2)]
    found = data.load(NAME, tiny)
    assert isinstance(found.train_images, np.memmap)
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        assert np.array_equal(getattr(found, field), getattr(expected, field))
    assert data.where(NAME, tiny) == tiny / "tiny-imagenet-200-packed"
    assert all(finding.usable for finding in data.check(NAME, tiny))


def test_check_reads_the_folders(tiny):
    findings = data.check(NAME, tiny)
    assert [finding.state for finding in findings] == ["differs"] * 4
    assert findings[0].text.startswith("12 images, in the right form")
    (tiny / "tiny-imagenet-200" / "val" / "images" / "val_1.JPEG").write_bytes(b"none")
    broken = [finding for finding in data.check(NAME, tiny) if not finding.usable]
    assert [finding.what for finding in broken] == ["val_annotations.txt"]


def test_where_it_comes_from_is_told(tmp_path):
    with pytest.raises(
        UserError, match=r"tiny-imagenet is not in .* \(wnids\.txt is missing\); get http\S+tiny-imagenet-200\.zip and"
    ):
        data.load(NAME, tmp_path)


def _cut(root):
    path = root / "train" / CLASSES[0] / "images" / f"{CLASSES[0]}_2.JPEG"
    path.write_bytes(path.read_bytes()[:300])


def _large(root):
    (root / "val" / "images" / "val_0.JPEG").write_bytes(jpeg(1, size=32))


def _other_format(root):
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "PNG")
    (root / "val" / "images" / "val_0.JPEG").write_bytes(stream.getvalue())


def _no_image(root):
    (root / "val" / "images" / "val_0.JPEG").unlink()


def _outside(root):
    (root / "val" / "val_annotations.txt").write_text(f"../../x.JPEG\t{CLASSES[0]}\t0\t0\t1\t1\n")


def _unknown_class(root):
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn99999999\t0\t0\t1\t1\n")


def _no_class(root):
    (root / "wnids.txt").write_text("n01443537\n../secret\n")


def _twice(root):
    (root / "wnids.txt").write_text("n01443537\nn01443537\n")


def _empty(root):
    for path in (root / "train" / CLASSES[1] / "images").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "split", "complaint"),
    [
        (_cut, "wnids.txt", r"n02124075_2\.JPEG cannot be read as a JPEG \(.*\); the published image is right"),
        (_large, "val/val_annotations.txt", r"val_0\.JPEG is 32×32 pixels; 64×64 is right"),
        (_other_format, "val/val_annotations.txt", r"val_0\.JPEG cannot be read as a JPEG"),
        (_no_image, "val/val_annotations.txt", r"val_0\.JPEG cannot be read as a JPEG"),
        (_outside, "val/val_annotations.txt", r"val_annotations\.txt has a line 1 that is not an image, its class and a box"),
        (_unknown_class, "val/val_annotations.txt", r"val_annotations\.txt has a line 1 that is not"),
        (_no_class, "wnids.txt", r"wnids\.txt does not list classes such as n01443537; 200 different ones are right"),
        (_twice, "wnids.txt", r"wnids\.txt does not list classes"),
        (_empty, "wnids.txt", r"n01443537/images has no \*\.JPEG"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_damage_is_told_in_a_sentence(damage, split, complaint, tiny):
    root = tiny / "tiny-imagenet-200"
    damage(root)
    with pytest.raises(BadFileError, match=complaint):
        read_folder(root / split, data.info(NAME))
