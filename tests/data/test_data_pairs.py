"""Images with label images: what is read, what a broken folder is told, and labels that move with their image."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as reference

from fourfold import data, tasks
from fourfold.data.named import read_named
from fourfold.record import DataSpec, UserError

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
GREY = (128, 128, 128)
SIZE = (12, 16)


def labels_of(number, size=SIZE):
    return np.random.default_rng(number).integers(0, 4, size, dtype=np.uint8)  # 3 is void


def image_of(number, size=SIZE):
    """An image whose red is 50 times its label, plus 50."""
    labels = labels_of(number, size)
    return np.stack([50 * labels + 50, np.full_like(labels, number), np.zeros_like(labels)], 2)


def write(folder, count=10, colours=False, suffix=""):
    for number in range(count):
        image, labels = folder / "images" / f"{number:02}.png", folder / "labels" / f"{number:02}{suffix}.png"
        for path in (image, labels):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_of(number)).save(image)
        pixels = labels_of(number)
        Image.fromarray(np.array([*COLOURS, GREY], np.uint8)[pixels] if colours else pixels).save(labels)
    return folder / "images", folder / "labels"


def options(colours):
    return {"classes": ["a", "b", "c"], **({"palette": COLOURS, "void": [GREY]} if colours else {"void": [3]})}


@pytest.mark.parametrize("colours", [False, True])
def test_pairs_are_read_with_their_labels_and_void_is_minus_100(tmp_path, colours):
    pair = write(tmp_path, colours=colours, suffix="_L")
    splits = data.from_pairs(pair, test=4, label_suffix="_L", normalization="none", **options(colours))
    assert (splits.kind, splits.classes, splits.outputs, splits.shape) == ("label map", ("a", "b", "c"), 3, (3, *SIZE))
    assert (len(splits.train), len(splits.test)) == (6, 4)
    seen = set()
    for part in (splits.train, splits.test):
        for images, labels in part.batches(3):
            assert labels.dtype == torch.int64
            for image, found in zip(images, labels, strict=True):
                number = round(float(image[1, 0, 0]) * 255)
                right = torch.from_numpy(labels_of(number)).long()
                assert torch.equal(found, right.masked_fill(right == 3, -100))
                assert torch.equal((image[0] * 255).round().long(), 50 * right + 50)
                seen.add(number)
    assert seen == set(range(10))
    again = data.from_pairs(pair, test=4, label_suffix="_L", **options(colours))
    assert again.digest == splits.digest


def test_files_with_a_palette_of_their_own_hold_labels(tmp_path):
    pair = write(tmp_path)
    for number in range(10):
        image = Image.fromarray(labels_of(number), mode="P")
        image.putpalette([value for colour in [*COLOURS, GREY] for value in colour])
        image.save(tmp_path / "labels" / f"{number:02}.png")
    assert data.from_pairs(pair, **options(False)).digest == data.from_pairs(write(tmp_path), **options(False)).digest
    assert image.mode == "P"


def test_images_of_several_sizes_are_scaled_and_labels_take_the_nearest(tmp_path):
    pair = write(tmp_path)
    big = labels_of(99, (24, 32))
    Image.fromarray(image_of(99, (24, 32))).save(pair[0] / "03.png")
    Image.fromarray(big).save(pair[1] / "03.png")
    with pytest.raises(UserError, match=r"03.png: expected 12×16 pixels as images before have, found 24×32; give a `size`"):
        data.from_pairs(pair, **options(False))
    splits = data.from_pairs((pair[0], pair[1]), (pair[0], pair[1]), size=SIZE, **options(False))
    _, labels = splits.test.batch(splits.test.in_order(), slice(3, 4))
    right = torch.from_numpy(big[1::2, 1::2]).long()
    assert torch.equal(labels[0], right.masked_fill(right == 3, -100))


def spoil(path, how):
    if how == "size":
        Image.fromarray(labels_of(4, (12, 15))).save(path)
    elif how == "value":
        values = labels_of(4)
        values[5, 7] = 77
        Image.fromarray(values).save(path)
    elif how == "colours":
        Image.fromarray(image_of(4)).save(path)
    elif how == "missing":
        path.unlink()
    elif how == "alone":
        shutil.copy(path, path.with_name("50.png"))
    elif how == "twice":
        Image.fromarray(labels_of(4)).save(path.with_suffix(".bmp"))
    else:
        path.write_bytes(path.read_bytes()[:40] if how == "cut" else b"")


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("size", r"labels.04\.png: expected 12×16 pixels as its image has, found 12×15$"),
        ("value", r"labels.04\.png: expected labels from 0 to 2 or of `void`, found 77 at row 5, column 7$"),
        ("colours", r"labels.04\.png: expected labels, found colours \(RGB\); `palette` says which they stand for$"),
        ("missing", r"images.04\.png: expected its label image in .*labels, found none$"),
        ("alone", r"labels.50\.png: expected its image in .*images, found none$"),
        ("twice", r"labels.04\.png: expected one image of that name, found 04\.bmp too$"),
        ("cut", r"labels.04\.png: expected a label image, found a file that cannot be read"),
        ("empty", r"labels.04\.png: expected a label image, found a file that cannot be read"),
    ],
)
def test_a_broken_pair_is_one_sentence_with_its_file(tmp_path, how, complaint):
    pair = write(tmp_path)
    spoil(pair[1] / "04.png", how)
    with pytest.raises(UserError, match=complaint):
        data.from_pairs(pair, **options(False))


def test_an_unknown_colour_is_named_with_its_file_and_place(tmp_path):
    pair = write(tmp_path, colours=True)
    pixels = np.array(Image.open(pair[1] / "02.png"))
    pixels[3, 1] = (1, 2, 3)
    Image.fromarray(pixels).save(pair[1] / "02.png")
    with pytest.raises(
        UserError, match=r"02\.png: expected colours of `palette` or `void`, found \(1, 2, 3\) at row 3, column 1$"
    ):
        data.from_pairs(pair, **options(True))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"classes": 1}, r"`classes` \(=1\) must be from 2"),
        ({"palette": COLOURS[:2]}, r"`palette` \(2 colours\) must have one for each of 3 of `classes`"),
        ({"palette": (*COLOURS[:2], COLOURS[0]), "void": []}, r"must be distinct colours, and have \(0, 0, 0\) twice"),
        ({"palette": (*COLOURS[:2], (0, 0, 256))}, r"`palette` \(=\(0, 0, 256\)\) must be colours"),
        ({"void": [GREY]}, r"`void` \(=\(128, 128, 128\)\) must be labels"),
        ({"size": 0}, r"`size` \(=0\) must be"),
        ({"test": "photos"}, r"`test` \(='photos'\) must be"),
        ({"test": None}, r"`test` \(=None\) must be"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        data.from_pairs(write(tmp_path), **{**options(False), **changes})


def agree(images, labels):
    """Whether every pixel has the label that its red says, black being beside the image."""
    red = (images[:, 0] * 255).round().long()
    right = torch.where(red == 200, -100, torch.where(red == 0, -100, red // 50 - 1))
    return torch.equal(right, labels)


@pytest.mark.parametrize("spec", [{"flip": True}, {"crop": 3}, {"crop": 2, "flip": True}])
def test_labels_follow_the_crops_and_flips_of_a_spec(tmp_path, spec):
    splits = data.from_pairs(write(tmp_path), test=2, normalization="none", **options(False))
    plain = dict(_numbered(splits.train.epoch(3, seed=5)))
    prepared = splits.prepare(spec=DataSpec(name="pairs", **spec))
    changed = 0
    for seed in range(5):
        for images, labels in prepared.train.epoch(3, seed=seed):
            assert agree(images, labels)
            changed += sum(not any(torch.equal(one, other) for other in plain.values()) for one in labels)
    assert changed > 10
    for images, labels in prepared.test.batches(2):  # not in tests
        assert all(torch.equal(one, right) for one, right in zip(labels, _right(images), strict=True))


def _numbered(batches):
    for images, labels in batches:
        for image, label in zip(images, labels, strict=True):
            yield round(float(image[1].max()) * 255), label


def _right(images):
    for image in images:
        right = torch.from_numpy(labels_of(round(float(image[1, 0, 0]) * 255))).long()
        yield right.masked_fill(right == 3, -100)


def test_label_maps_of_arrays_move_with_their_images_too():
    inputs = np.stack([image_of(number) for number in range(10)])
    labels = np.stack([labels_of(number) for number in range(10)])
    splits = data.from_arrays((inputs, labels), test=2, ignore=3, normalization="none", classes=3)
    prepared = splits.prepare(spec=DataSpec(name="arrays", crop=2, flip=True))
    for images, found in prepared.train.epoch(4, seed=1):
        assert agree(images, found.masked_fill(found == 3, -100))
    reduced = data.from_arrays((inputs, labels[:, ::2]), test=2, ignore=3, classes=3)
    with pytest.raises(UserError, match=r"`data.flip` .*its targets would have to change too"):
        reduced.prepare(spec=DataSpec(name="arrays", flip=True))


@pytest.mark.parametrize("window", [None, (7, 9), (20, 30)])
def test_views_cut_labels_where_they_cut_images(window):
    images = torch.stack([torch.from_numpy(image_of(number)).movedim(-1, 0) for number in range(8)])
    labels = torch.stack([torch.from_numpy(labels_of(number)).long() for number in range(8)])
    labels[labels == 3] = -100
    view = data.Views(size=window)
    found, moved = view((images, labels), torch.Generator().manual_seed(0))
    assert found.shape == (8, 3, *(window or SIZE))
    assert agree(found / 255, moved)
    again, _ = view((images, labels), torch.Generator().manual_seed(0))
    assert torch.equal(found, again)


def test_scaled_views_take_labels_from_where_their_pixels_come():
    halves = torch.zeros(40, 3, 32, 32, dtype=torch.uint8)
    halves[:, :, :, 16:] = 100
    halves[:, :, :16] += 100
    labels = (halves[:, 0] // 100).long()
    view = data.Views(scale=(0.5, 2.0))
    found, moved = view((halves, labels), torch.Generator().manual_seed(0))
    inside = moved != -100
    assert found.shape == halves.shape
    # Bilinear edges lie between two labels; nearly all pixels are of one.
    assert ((found[:, 0].float() / 100).round().long()[inside] == moved[inside]).float().mean() > 0.97
    assert not found[:, 0][~inside].any()
    assert (inside.flatten(1).float().mean(1) < 1).any()  # smaller ones leave a part of the window empty
    assert set(moved.unique().tolist()) == {-100, 0, 1, 2}
    with pytest.raises(UserError, match=r"`scale` \(=\(2, 1\)\) must be"):
        data.Views(scale=(2, 1))


def test_camvid_is_read_whole_and_iou_on_its_test_part_is_that_of_scikit_learn(real_data):
    if not (real_data / "CamVid").is_dir():
        pytest.skip("CamVid is not in $FOURFOLD_DATA")
    splits = read_named("camvid", real_data)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (367, 101, 233)
    assert (splits.outputs, splits.classes[0], splits.classes[10]) == (11, "sky", "bicyclist")
    random, meter = torch.Generator().manual_seed(0), tasks.Segmentation().meter()
    true, said = [], []
    for _, labels in splits.test.batches(50):
        wrong = torch.rand(labels.shape, generator=random) < 0.3
        taken = torch.where(wrong | (labels < 0), torch.randint(0, 11, labels.shape, generator=random), labels)
        meter.update(torch.nn.functional.one_hot(taken, 11).movedim(-1, 1), labels)
        true.append(labels[labels != -100].numpy())
        said.append(taken[labels != -100].numpy())
    ious = 100 * reference.jaccard_score(np.concatenate(true), np.concatenate(said), labels=np.arange(11), average=None)
    assert meter.per_class() == pytest.approx(list(ious))
    assert meter.compute()["miou"] == pytest.approx(ious.mean())
