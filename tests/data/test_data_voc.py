"""Images with boxes in Pascal VOC's layout: what is read, refused or left out, and boxes that move with their images."""

import hashlib
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_data_fetching import serve

from fourfold import data
from fourfold.data import fetching
from fourfold.data.boxes import padded
from fourfold.data.official import NAMED_ARCHIVES, NamedArchive
from fourfold.data.own.annotations import read_annotation
from fourfold.data.own.voc import load_bccd, load_voc
from fourfold.record import DataSpec, UserError

WIDTH, HEIGHT = 40, 30


def xml(*objects, size=(WIDTH, HEIGHT), extra=""):
    sides = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    boxes = "".join(
        f"<object><name>{name}</name><difficult>{int(difficult)}</difficult><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
        + "</bndbox></object>"
        for name, corners, difficult in objects
    )
    return f"<annotation>{extra}{sides}{boxes}</annotation>"


def write(folder, name, text, part="train", size=(WIDTH, HEIGHT), seed=0):
    for place in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg")
    (folder / "Annotations" / f"{name}.xml").write_text(text)
    with (folder / "ImageSets" / "Main" / f"{part}.txt").open("a") as file:
        file.write(f"{name}\n")


CAT = ("cat", (5, 4, 20, 16), False)
DOG = ("dog", (1, 1, WIDTH, HEIGHT), True)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pets"
    write(root, "one", xml(CAT, DOG))
    write(root, "two", xml(), seed=1)  # an image without boxes
    write(root, "three", xml(DOG), part="test", seed=2)
    return root


def read(folder, **options):
    return data.from_voc(folder, size=16, data_dir=folder.parent / "cache", **options)


def test_boxes_are_parts_of_the_sides_of_their_images_whatever_their_number(folder):
    splits = read(folder)
    assert (splits.kind, splits.classes, splits.outputs, splits.shape) == ("boxes", ("cat", "dog"), 2, (3, 16, 16))
    images, targets = next(splits.train.batches(2))
    assert images.shape == (2, 3, 16, 16)
    assert targets["labels"].tolist() == [[0, 1], [-1, -1]]
    assert targets["difficult"].tolist() == [[False, True], [False, False]]
    expected = [
        [4 / WIDTH, 3 / HEIGHT, 20 / WIDTH, 16 / HEIGHT],
        [0, 0, 1, 1],
    ]  # pixels count from 1, and the last belongs to it
    assert torch.allclose(targets["boxes"][0], torch.tensor(expected))
    assert splits.digest == read(folder).digest
    assert not splits.notices


def test_a_batch_of_one_and_a_part_that_is_held_out(folder):
    for number in range(4):
        write(folder, f"more{number}", xml(CAT), seed=number + 3)
    splits = read(folder, test=0.5)
    assert (len(splits.train), len(splits.test)) == (3, 3)
    assert [len(targets["labels"]) for _, targets in splits.test.batches(1)] == [1, 1, 1]
    assert not set(splits.train.order(0).members.tolist()) & set(splits.test.in_order().members.tolist())


BAD = {
    "no area": (("cat", (5, 4, 5, 16), False), "xmin below xmax", "have no area"),
    "turned": (("cat", (20, 4, 5, 16), False), "xmin below xmax", "have no area"),
    "outside": (("cat", (50, 4, 60, 16), False), f"boxes inside the image of {WIDTH}×{HEIGHT}", "lie outside their image"),
    "unknown class": (("cow", (5, 4, 20, 16), False), "boxes of the classes cat, dog", "are of an unknown class"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_box_is_refused_or_left_out_and_counted(folder, fault):
    thing, expected, notice = BAD[fault]
    write(folder, "bad", xml(CAT, thing, DOG), seed=9)
    with pytest.raises(UserError, match=rf"bad\.xml: expected {re.escape(expected)}.*, found .*bad_boxes='skip'"):
        read(folder, classes=["cat", "dog"])
    splits = read(folder, classes=["cat", "dog"], bad_boxes="skip")
    *_, last = splits.train.batches(1)
    assert last[1]["labels"].tolist() == [[0, 1]]
    assert len(splits.notices) == 1
    assert splits.notices[0].startswith(f"1 of 6 boxes {notice} and are left out: bad.xml has ")


def test_a_box_that_reaches_beyond_its_image_is_cut_and_counted(folder):
    write(folder, "large", xml(("cat", (-10, 11, 20, 90), False)), seed=9)
    splits = read(folder, classes=["cat", "dog"])
    *_, (_, targets) = splits.train.batches(1)
    assert torch.allclose(targets["boxes"][0, 0], torch.tensor([0, 10 / HEIGHT, 20 / WIDTH, 1]))
    assert splits.notices == ("1 of 4 boxes reach beyond their image and are cut: large.xml has (-10, 11, 20, 90)",)


BROKEN = {
    "no name": ("<annotation><object><bndbox/></object></annotation>", "expected <name> in object 1, found none"),
    "no box": ("<annotation><object><name>cat</name></object></annotation>", "expected <bndbox> in object 1, found none"),
    "no corner": (xml(CAT).replace("<ymax>16</ymax>", ""), "expected <ymax> in object 1, found none"),
    "no number": (xml(CAT).replace("<ymax>16", "<ymax>sixteen"), "expected a number in <ymax> of object 1, found 'sixteen'"),
    "not finite": (xml(CAT).replace("<ymax>16", "<ymax>nan"), "expected a number in <ymax>"),
    "infinite size": (xml(CAT, size=("inf", 3)), "expected a number in <width> of <size>"),
    "another root": ("<html/>", "expected the element <annotation>, found <html>"),
    "cut off": (xml(CAT)[:-20], "expected XML, found a file that cannot be read"),
    "empty": ("", "expected XML"),
    "another size": (xml(CAT, size=(WIDTH, 99)), f"expected the size {WIDTH}×{HEIGHT} that its image has, found {WIDTH}×99"),
    "deep": ("<annotation>" + "<a>" * 40 + "</a>" * 40 + "</annotation>", "at most 16 deep"),
    "bomb": (
        '<!DOCTYPE annotation [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotation>&b;</annotation>',
        "without a document type or entities",
    ),
    "document type": ("<!DOCTYPE annotation><annotation/>", "without a document type or entities"),
    "external": (
        '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation>&a;</annotation>',
        "without a document type or entities",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_annotation_is_one_sentence_with_its_name(folder, fault):
    text, message = BROKEN[fault]
    (folder / "Annotations" / "two.xml").write_text(text)
    with pytest.raises(
        UserError,
        match=rf"two\.xml: {re.escape(message) if message[0] != 'w' else '.*' + message}|two\.xml.*{re.escape(message)}",
    ):
        read(folder)


def test_missing_and_damaged_files_are_one_sentence_with_their_names(folder):
    (folder / "Annotations" / "two.xml").rename(folder / "two.xml")
    with pytest.raises(UserError, match=r"two\.xml: expected an annotation that can be read"):
        read(folder)
    (folder / "two.xml").rename(folder / "Annotations" / "two.xml")
    image = folder / "JPEGImages" / "two.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    with pytest.raises(UserError, match=r"two\.jpg cannot be read as an image.*bad_images='skip'"):
        read(folder)
    splits = read(folder, bad_images="skip")
    assert len(splits.train) == 1
    assert splits.notices[0].startswith("1 of 3 images are left out: JPEGImages/two.jpg cannot be read")
    image.unlink()
    with pytest.raises(UserError, match=r"train\.txt: expected images of JPEGImages, found two, of which there is none"):
        read(folder)
    image.write_bytes(whole)
    with pytest.raises(UserError, match=r"val\.txt: expected a list of images"):
        read(folder, validation="val")
    (folder / "ImageSets" / "Main" / "val.txt").write_text("\n")
    with pytest.raises(UserError, match=r"val\.txt: expected names of images, found none"):
        read(folder, validation="val")
    for options in ({"bad_boxes": "perhaps"}, {"size": 0}):
        with pytest.raises(UserError, match=rf"`{next(iter(options))}`"):
            data.from_voc(folder, **options)


def test_an_annotation_without_a_size_takes_that_of_the_image(folder):
    assert read_annotation(folder / "Annotations" / "one.xml").size == (WIDTH, HEIGHT)
    for text in (xml(CAT, size=None), xml(CAT, size=(0, 0))):
        (folder / "Annotations" / "one.xml").write_text(text)
        _, targets = next(read(folder, classes=["cat", "dog"]).train.batches(1))
        assert targets["boxes"][0, 0, 2] == 20 / WIDTH


def painted(count=12, size=(32, 48), seed=0):
    """Images that are white in one box each and black elsewhere, with these boxes."""
    random = np.random.default_rng(seed)
    images, boxes = torch.zeros(count, 3, *size, dtype=torch.uint8), []
    for image in images:
        top, left = random.integers(4, size[0] - 16), random.integers(4, size[1] - 16)
        height, width = random.integers(6, 12, 2)
        image[:, top : top + height, left : left + width] = 255
        corners = (left / size[1], top / size[0], (left + width) / size[1], (top + height) / size[0])
        boxes.append([(1, corners, False)])
    return images, padded(boxes)


def found_in(image):
    """The box of what is white, as parts of the sides."""
    rows, columns = (image[0] > 127).nonzero(as_tuple=True)
    height, width = image.shape[1:]
    edges = columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
    return [float(edge) for edge in edges]


@pytest.mark.parametrize(
    "settings", [{}, {"flip": False}, {"scale": (0.5, 2.0)}, {"size": (24, 40)}, {"scale": (0.7, 1.3), "size": (40, 24)}]
)
def test_views_move_boxes_with_their_images(settings):
    images, targets = painted()
    moved = kept = 0
    for seed in range(5):
        views, placed = data.Views(**settings)((images, targets), torch.Generator().manual_seed(seed))
        for view, labels, corners, before in zip(views, placed["labels"], placed["boxes"], targets["boxes"], strict=True):
            if labels[0] == -1:
                continue
            kept += 1
            pixel = 1.01 / min(view.shape[1:])  # scaled edges lie between pixels
            assert corners[0].tolist() == pytest.approx(found_in(view), abs=pixel if "scale" in settings else 1e-6)
            moved += not torch.equal(corners[0], before[0])
    assert kept > 30
    assert moved or settings == {"flip": False}


def test_crops_and_flips_of_a_spec_move_boxes_with_their_images(tmp_path):
    folder = tmp_path / "white"
    images, _ = painted(10, (HEIGHT, WIDTH))
    for number, image in enumerate(images):
        left, top, right, bottom = found_in(image)
        corners = (left * WIDTH + 1, top * HEIGHT + 1, right * WIDTH, bottom * HEIGHT)
        write(folder, str(number), xml(("white", [round(float(side)) for side in corners], False)))
        Image.fromarray(image.movedim(0, -1).numpy()).save(folder / "JPEGImages" / f"{number}.png")
        (folder / "JPEGImages" / f"{number}.jpg").unlink()
    splits = data.from_voc(folder, size=(HEIGHT, WIDTH), test=0.2, normalization="none", data_dir=tmp_path / "cache")
    train = splits.prepare(4, spec=DataSpec(name="white", crop=8, flip=True)).train
    seen = set()
    for epoch in range(4):
        for views, targets in train.epoch(4, epoch):
            for view, labels, corners in zip(views, targets["labels"], targets["boxes"], strict=True):
                if labels[0] != -1:
                    assert corners[0].tolist() == pytest.approx(found_in(view[:1] * 255), abs=1e-6)
                    seen.add(tuple(corners[0].tolist()))
    assert len(seen) > 20
    assert all(bool((targets["labels"] == 0).all()) for _, targets in train.batches(4))


def test_a_box_of_which_little_is_left_is_none_any_more():
    images, targets = torch.zeros(1, 3, 20, 20), padded([[(0, (0.0, 0.0, 0.5, 0.5), False), (1, (0.1, 0.6, 0.9, 0.9), False)]])
    view = data.Views(flip=False, size=(20, 10))
    labels = {
        tuple(view((images, targets), torch.Generator().manual_seed(seed))[1]["labels"][0].tolist()) for seed in range(40)
    }
    assert labels == {(0, 1), (-1, 1)}


def test_views_refuse_targets_of_another_kind():
    with pytest.raises(UserError, match=r"with label maps .* or boxes"):
        data.Views()((torch.zeros(1, 3, 4, 4), {"mask": torch.zeros(1)}), torch.Generator())


def archive(folder, name, members):
    path = folder / name
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.add(folder / member, member)
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder with three archives of Pascal VOC's layout, whose checksums count as official."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    root = tmp_path / "server"
    for year, part, name in (("2007", "trainval", "a"), ("2007", "test", "b"), ("2012", "trainval", "c")):
        write(root / "VOCdevkit" / f"VOC{year}", name, xml(("cat", (5, 4, 20, 16), False)), part=part)
    (root / "VOCdevkit" / "VOC2012" / "notes.sh").write_text("not wanted")
    (root / "VOCdevkit" / "VOC2012" / "JPEGImages" / "link.jpg").symlink_to("/etc/hostname")
    found = []
    for known, year, part in zip(
        NAMED_ARCHIVES["voc"], ("2007", "2007", "2012"), ("trainval", "test", "trainval"), strict=True
    ):
        base = Path("VOCdevkit") / f"VOC{year}"
        names = sorted(
            str(path.relative_to(root)) for path in (root / base).rglob("*") if not path.is_dir() or path.is_symlink()
        )
        others = {"trainval": "test", "test": "trainval"}[part] if year == "2007" else "none"
        names = [name for name in names if f"{others}.txt" not in name]
        found.append(NamedArchive(**{**vars(known), "md5": archive(root, known.name, names)}))
    monkeypatch.setitem(NAMED_ARCHIVES, "voc", tuple(found))
    return root


def test_voc_is_downloaded_unpacked_and_read(server, tmp_path):
    target = tmp_path / "data"
    target.mkdir()
    with pytest.raises(
        UserError, match=r"voc is not in .* \(VOCdevkit/VOC2007/ImageSets/Main/trainval.txt is missing\); `fourfold data get"
    ):
        load_voc(target)
    with serve(server) as url:
        written = data.download("voc", target, url)
        assert [path.relative_to(target).as_posix() for path in written] == [
            f"VOCdevkit/VOC{year}/ImageSets/Main/{part}.txt"
            for year, part in (("2007", "trainval"), ("2007", "test"), ("2012", "trainval"))
        ]
        assert data.download("voc", target, url) == []
    names = {path.name for path in target.rglob("*")}
    assert {"a.jpg", "b.xml", "c.jpg"} <= names
    assert not names & {"notes.sh", "link.jpg"} | {name for name in names if name.startswith(".download")}
    splits = load_voc(target)
    assert (len(splits.train), len(splits.test), splits.outputs, splits.shape) == (2, 1, 20, (3, 448, 448))
    assert next(splits.train.epoch(2, 0))[1]["labels"].max() == splits.classes.index("cat")


def test_an_archive_that_is_there_is_unpacked_and_another_content_is_refused(server, tmp_path):
    target = tmp_path / "data"
    target.mkdir()
    for each in NAMED_ARCHIVES["voc"]:
        (target / each.name).write_bytes((server / each.name).read_bytes())
    assert len(data.download("voc", target, "http://127.0.0.1:9/")) == 3
    broken = tmp_path / "broken"
    (server / NAMED_ARCHIVES["voc"][0].name).write_bytes(b"something else")
    with serve(server) as url, pytest.raises(UserError, match="does not have the official checksum"):
        fetching.download_archives("voc", broken, url)
    assert not (broken / "VOCdevkit").exists()


def test_bccd_is_read_as_it_is(tmp_path):
    with pytest.raises(UserError, match="BCCD/Annotations is missing"):
        load_bccd(tmp_path)
    directory = Path(os.environ.get("FOURFOLD_DATA", "nowhere"))
    if not (directory / "BCCD").is_dir():
        pytest.skip("FOURFOLD_DATA has no BCCD: no real data here")
    splits = load_bccd(directory)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (205, 87, 72)
    assert splits.notices[0].startswith("2 of 4,888 boxes have no area and are left out: BloodImage_003")


def test_boxes_in_arrays_are_checked_and_move_too():
    images, targets = painted(12)
    arrays = images.movedim(1, -1).numpy(), {"boxes": targets["boxes"].numpy(), "labels": targets["labels"].numpy()}
    splits = data.from_arrays(arrays, targets="boxes", classes=["black", "white"], normalization="none")
    assert (splits.kind, splits.outputs, len(splits.test)) == ("boxes", 2, 2)
    for views, placed in splits.prepare(spec=DataSpec(name="white", crop=4, flip=True)).train.epoch(3, 0):
        for view, corners in zip(views, placed["boxes"], strict=True):
            assert corners[0].tolist() == pytest.approx(found_in(view * 255), abs=1e-6)
    boxes, labels = arrays[1]["boxes"], arrays[1]["labels"]
    outside = boxes.copy()
    outside[5, 0, 2] = 1.5
    for wrong, message in (
        ({"boxes": outside, "labels": labels}, r"at item 5\) must be corners"),
        ({"boxes": boxes[..., [2, 1, 0, 3]], "labels": labels}, r"at item 0\) must be corners"),
        ({"boxes": boxes, "labels": labels + 7}, "must be a class, 0 to 1, or -1"),
        ({"boxes": boxes[:, :, :3], "labels": labels}, r"must have floats \(N, M, 4\)"),
        ({"boxes": boxes}, "must be a dict of `boxes` and `labels`"),
        (labels, "must be a dict of `boxes` and `labels`"),
    ):
        with pytest.raises(UserError, match=message):
            data.from_arrays((arrays[0], wrong), targets="boxes", classes=["black", "white"])
