"""Folders of class folders: what is read, how, and what is refused."""

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from own import check_same
from PIL import Image, features

from fourfold import data
from fourfold.data.items import Items
from fourfold.data.own import decoded
from fourfold.data.own.image_files import BadImageError, Form, decode, formats, suffixes
from fourfold.data.streamed import Streamed
from fourfold.record import DataSpec, UserError

PLAIN = Form(size=None, resize="crop", colour="rgb")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURFOLD_DATA", str(tmp_path / "cache"))


def pixels(seed, height=8, width=8, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.squeeze()).save(path, **options)
    return path


def make(root, parts=("",), classes=("cat", "dog"), count=6, **size):
    for part in parts:
        for label, name in enumerate(classes):
            for number in range(count):
                save(root / part / name / f"{number}.png", pixels(1000 * len(part) + 100 * label + number, **size))
    return root


def everything(splits):
    return [list(part.batches(7)) for part in (splits.train, splits.validation, splits.test) if part is not None]


def test_a_folder_is_the_arrays_of_its_images_class_after_class(tmp_path):
    root = make(tmp_path / "pets", ("train", "val", "test"))
    found = data.from_folder(root)
    arrays = {}
    for part in ("train", "val", "test"):
        files = sorted((root / part).glob("*/*.png"))
        inputs = np.stack([np.asarray(Image.open(file)) for file in files])
        arrays[part] = inputs, np.array([["cat", "dog"].index(file.parent.name) for file in files])
    expected = data.from_arrays(arrays["train"], arrays["test"], arrays["val"])
    assert (found.name, found.classes, found.shape, found.notices) == ("pets", ("cat", "dog"), (3, 8, 8), ())
    assert found.mean == pytest.approx(expected.mean, abs=1e-12)
    for n in (1, 4):
        mine, theirs = found.prepare(n), expected.prepare(n)
        check_same(mine.train.epoch(5, 3), theirs.train.epoch(5, 3))
        check_same(mine.validation.batches(5), theirs.validation.batches(5))
        check_same(mine.test.batches(5), theirs.test.batches(5))


@pytest.mark.parametrize("augment", [None, lambda batch, generator: (batch[0].flip(3), batch[1])])
def test_images_that_are_read_from_disk_make_the_batches_of_images_in_memory(tmp_path, augment):
    spec = DataSpec(name="pets", crop=1, flip=True, validation=3)
    splits = data.from_folder(make(tmp_path / "pets"), augment=augment)
    for n in (1, 4):
        resident, read = (splits.prepare(n, spec=spec, stream=stream) for stream in (False, True))
        assert isinstance(read.train, Items if augment else Streamed)
        check_same(read.train.epoch(3, 5), resident.train.epoch(3, 5))
        check_same(read.train.epoch(3, 5, first=1), list(resident.train.epoch(3, 5))[1:])
        check_same(read.test.batches(2, 1, 2), resident.test.batches(2, 1, 2))
        check_same(read.validation.batches(2), resident.validation.batches(2))


def test_parts(tmp_path):
    plain = data.from_folder(make(tmp_path / "plain", count=10), validation=0.25)
    assert [len(part) for part in (plain.train, plain.validation, plain.test)] == [12, 4, 4]
    four = data.from_folder(make(tmp_path / "four", classes="abcd", count=25), validation=0.25)
    assert [np.bincount(part.labels).tolist() for part in (four.test, four.validation)] == [[5] * 4, [5] * 4]
    two = data.from_folder(make(tmp_path / "two", ("Train", "valid")))
    assert (two.validation, len(two.test)) == (None, 12)
    held = data.from_folder(tmp_path / "two", validation=2)
    assert (len(held.train), len(held.validation), len(held.test)) == (10, 2, 12)
    tests = data.from_folder(make(tmp_path / "tests", ("train", "test")))
    assert (tests.validation, len(tests.test)) == (None, 12)
    fewer = make(tmp_path / "fewer", ("train", "test"))
    shutil.rmtree(fewer / "test" / "cat")
    assert data.from_folder(fewer).test.labels.tolist() == [1] * 6
    (tmp_path / "tests" / "runs" / "deep").mkdir(parents=True)  # holds no images, so it is no class
    assert len(data.from_folder(tmp_path / "tests").test) == 12
    vehicles = make(tmp_path / "vehicles", classes=("train", "test", "bus"))
    assert data.from_folder(vehicles).classes == ("bus", "test", "train")


def test_hidden_files_other_files_and_deeper_folders(tmp_path):
    root = make(tmp_path / "pets")
    expected = data.from_folder(root)
    for name in (".hidden.png", "cat/.hidden.png", ".git/x.png", "cat/.thumbs/x.png", "__MACOSX/cat/x.png"):
        save(root / name, pixels(0, 3, 3))
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "cat" / "Thumbs.db").write_bytes(b"\0")
    (root / "labels.csv").write_text("a,b")
    found = data.from_folder(root)
    assert (found.classes, found.notices) == (expected.classes, ())
    check_same(found.train.batches(7), expected.train.batches(7))
    save(root / "dog" / "a" / "b" / "6.PNG", pixels(5))
    save(root / "outside.png", pixels(0, 3, 3))
    deeper = data.from_folder(root)
    assert len(deeper.train) + len(deeper.test) == 13
    assert deeper.notices == ("1 images in no class folder are left out",)


def test_links_are_followed_once_and_loops_end(tmp_path):
    root = make(tmp_path / "pets")
    (root / "cat" / "loop").symlink_to(root / "cat")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "self").symlink_to("self")
    (root / "bird").symlink_to(make(tmp_path / "other") / "cat")
    (root / "cat" / "linked.png").symlink_to(save(tmp_path / "elsewhere.png", pixels(9)))
    splits = data.from_folder(root)
    assert splits.classes == ("bird", "cat", "dog")
    counts = np.bincount(torch.cat([splits.train.labels, splits.test.labels]))
    assert counts.tolist() == [6, 6 + 1 + 6 + 6, 6]  # `up` has cats once, by their own link, and dogs and birds


def test_what_changes_is_decoded_anew_and_nothing_else(tmp_path):
    root = make(tmp_path / "pets")
    first = data.from_folder(root)
    made = sorted((tmp_path / "cache" / "decoded").rglob("pixels"))
    times = [file.stat().st_mtime_ns for file in made]
    again = data.from_folder(root)
    assert [file.stat().st_mtime_ns for file in made] == times
    assert again.digest == first.digest
    assert data.from_folder(root, size=4).digest != first.digest
    assert len(list((tmp_path / "cache" / "decoded").rglob("pixels"))) == 2
    before = everything(first)
    save(root / "cat" / "0.png", pixels(77))
    changed = data.from_folder(root)
    assert changed.digest != first.digest
    for part, other in zip(before, everything(first), strict=True):
        check_same(part, other)  # what was mapped stays as it was
    (root / "cat" / "0.png").unlink()
    assert len(data.from_folder(root).train) + len(data.from_folder(root).test) == 11
    made[0].write_bytes(b"short")
    assert data.from_folder(root).digest == data.from_folder(root).digest
    for contents in (b"", b"[]", b"{}", b"[" * 100_000, b'{"bad": 3}'):
        made[0].with_name("contents.json").write_bytes(contents)
        assert len(data.from_folder(root).test) == 2


GRADIENT = np.add.outer(np.arange(16), np.arange(24)).astype(np.uint8) * 4


def written(tmp_path, image, suffix=".png", **options):
    path = tmp_path / f"image{suffix}"
    image.save(path, **options)
    return path


def test_images_of_any_mode_become_red_green_and_blue(tmp_path):
    grey = Image.fromarray(GRADIENT)
    colours = Image.fromarray(np.stack([GRADIENT, GRADIENT // 2, GRADIENT // 4], -1))
    for image in (grey, grey.convert("P"), Image.fromarray(GRADIENT.astype(np.uint16) * 257), grey.convert("LA")):
        found = decode(written(tmp_path, image), PLAIN)
        assert np.array_equal(found, np.stack([GRADIENT] * 3)), image.mode
    assert np.array_equal(decode(written(tmp_path, colours), PLAIN), np.asarray(colours).transpose(2, 0, 1))
    wide = Image.fromarray(GRADIENT.astype(np.int32) * 257)
    assert np.array_equal(decode(written(tmp_path, wide, ".tiff"), PLAIN)[0], GRADIENT)
    floats = Image.fromarray(GRADIENT.astype(np.float32) / 255)
    assert np.array_equal(decode(written(tmp_path, floats, ".tiff"), PLAIN)[0], GRADIENT)
    clear = colours.convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(GRADIENT > 70, 255, 0).astype(np.uint8)))
    shown = decode(written(tmp_path, clear), PLAIN)
    assert np.array_equal(shown, np.where(GRADIENT > 70, np.asarray(colours).transpose(2, 0, 1), 0))
    one_bit = grey.point(lambda value: 255 * (value > 70), "1")
    assert np.array_equal(decode(written(tmp_path, one_bit), PLAIN)[0], np.where(GRADIENT > 70, 255, 0))
    grey_form = Form(size=None, resize="crop", colour="grey")
    assert np.array_equal(decode(written(tmp_path, colours), grey_form)[0], np.asarray(colours.convert("L")))
    inks = decode(written(tmp_path, colours.convert("CMYK"), ".tiff"), PLAIN)
    assert np.array_equal(inks, np.asarray(colours).transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_images_are_turned_as_their_exif_says(tmp_path, orientation, suffix):
    if suffix == ".webp" and not features.check("webp"):
        pytest.skip("Pillow without WebP")
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    found = decode(written(tmp_path, Image.fromarray(stored), suffix, exif=exif, **options), PLAIN)
    corners = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}
    assert found.shape[1:] == ((16, 32) if orientation < 5 else (32, 16))
    quarter = {"t": slice(0, 8), "b": slice(-8, None), "l": slice(0, 8), "r": slice(-8, None)}
    vertical, horizontal = corners[orientation]
    assert found[:, quarter[vertical], quarter[horizontal]].min() > 200
    assert (found > 128).mean() == pytest.approx(64 / 512, abs=0.01)


def test_of_several_frames_the_first_is_taken(tmp_path):
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "blue")]
    for suffix in (".gif", ".png", ".tiff"):
        found = decode(written(tmp_path, frames[0], suffix, save_all=True, append_images=frames[1:]), PLAIN)
        assert np.array_equal(found, np.stack([np.full((5, 6), 255), np.zeros((5, 6)), np.zeros((5, 6))]))


@pytest.mark.parametrize("shape", [(20, 40), (40, 20), (10, 10), (3, 9)])
@pytest.mark.parametrize("resize", ["crop", "fit", "stretch"])
def test_images_become_one_size(tmp_path, shape, resize):
    white = written(tmp_path, Image.new("RGB", shape[::-1], "white"))
    found = decode(white, Form(size=(10, 10), resize=resize, colour="rgb"))
    assert found.shape == (3, 10, 10)
    part = min(shape) / max(shape) if resize == "fit" else 1
    assert (found == 255).mean() == pytest.approx(part, abs=0.11)
    assert set(np.unique(found)) <= {0, 255}


def test_what_is_cropped_is_the_middle(tmp_path):
    stripes = np.zeros((8, 24, 3), np.uint8)
    stripes[:, 8:16] = 255
    found = decode(written(tmp_path, Image.fromarray(stripes)), Form(size=(8, 8), resize="crop", colour="rgb"))
    assert (found == 255).all()


def test_large_jpegs_are_decoded_small(tmp_path):
    large = np.asarray(Image.fromarray(GRADIENT).resize((2400, 1600)))
    path = written(tmp_path, Image.fromarray(large), ".jpg", quality=95)
    found = decode(path, Form(size=(16, 16), resize="stretch", colour="grey"))[0]
    exact = np.asarray(Image.open(path).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - exact).max() <= 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Pillow's, of formats that it will not write for ever
def test_every_format_that_pillow_writes_is_read_or_refused(tmp_path):
    assert {"PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO"} <= set(formats())
    assert not {"EPS", "WMF"} & set(formats())
    assert ".eps" not in suffixes()
    image = Image.fromarray(pixels(1, 32, 32))
    for name in sorted((set(formats()) & set(Image.SAVE)) - {"SPIDER"}):  # which holds floats
        path = tmp_path / f"image.{name}"
        try:
            image.save(path, name)
        except (OSError, ValueError):
            continue  # Pillow writes it in other modes alone, or was built without it
        size = 1024 if name == "ICNS" else 32  # icons come in sizes of their own
        assert decode(path, PLAIN).shape == (3, size, size), name


def png_header(width, height):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


BAD = {
    "empty": b"",
    "text": b"no image at all",
    "truncated": None,
    "bomb": png_header(2**31 - 1, 2**31 - 1),
    "large": png_header(10_000, 10_000),
    "no pixels": png_header(0, 0),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
}


def bad(root, name):
    path = root / "cat" / "3.png"
    content = BAD.get(name)
    if name == "truncated":
        content = path.read_bytes()[:-40]
    path.unlink()
    if name == "a link to nothing":
        path.symlink_to(root / "nothing.png")
    elif name == "a pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", [*BAD, "a link to nothing", "a pipe"])
def test_a_bad_file_is_named_and_refused_or_left_out_and_counted(tmp_path, name):
    root = make(tmp_path / "pets")
    path = bad(root, name)
    with pytest.raises(UserError) as error:
        data.from_folder(root)
    assert str(error.value).startswith(str(path))
    assert "bad_images='skip'" in str(error.value)
    splits = data.from_folder(root, bad_images="skip")
    assert len(splits.train) + len(splits.test) == 11
    reason = "is of 10000×10000 pixels, more than" if name == "large" else ""
    assert splits.notices[0].startswith(f"1 of 12 images are left out: cat/3.png {reason}")
    with pytest.raises(UserError, match="bad_images='skip'"):  # also where they are decoded already
        data.from_folder(root)
    path.unlink()
    save(path, pixels(3))
    assert len(data.from_folder(root).test) == 2


def test_a_wrong_ending_does_not_matter(tmp_path):
    root = make(tmp_path / "pets")
    expected = data.from_folder(root)
    (root / "cat" / "0.png").rename(root / "cat" / "0.jpg")
    check_same(data.from_folder(root).train.batches(7), expected.train.batches(7))


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "TGA", "PPM", "ICO", "JPEG2000", "SGI", "DDS"])
def test_mutated_and_truncated_images_are_decoded_or_refused(tmp_path, suffix):
    if suffix not in formats():
        pytest.skip(f"Pillow without {suffix}")
    path = tmp_path / "image"
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if suffix in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    Image.fromarray(pixels(1, 16, 16)).save(path, suffix, **options)
    whole = path.read_bytes()
    for trial in range(40):
        random = np.random.default_rng(trial)
        raw = bytearray(whole[: random.integers(1, len(whole))] if trial % 3 == 0 else whole)
        places = random.integers(0, min(len(raw), 100 if trial % 2 else len(raw)), random.integers(1, 6))
        for place in places:
            raw[place] = random.integers(0, 256)
        path.write_bytes(raw)
        try:
            found = decode(path, Form(size=(8, 8), resize="crop", colour="rgb"))
        except BadImageError:
            continue
        assert (found.shape, found.dtype) == ((3, 8, 8), np.uint8)


CASES = {
    "no folder": lambda root: data.from_folder(root / "nothing"),
    "a file": lambda root: data.from_folder(save(root / "x.png", pixels(0))),
    "an empty folder": lambda root: data.from_folder(root),
    "images alone": lambda root: data.from_folder(save(root / "x.png", pixels(0)).parent),
    "one class": lambda root: data.from_folder(make(root, classes=("cat",))),
    "a class without images": lambda root: data.from_folder((make(root) / "bird").mkdir() or root),
    "folders without images": lambda root: data.from_folder([(root / k).mkdir() for k in "ab"] and root),
    "a class of the test part alone": lambda root: data.from_folder(
        save(make(root, ("train", "test")) / "test" / "bird" / "x.png", pixels(0)).parents[2]
    ),
    "no training part": lambda root: data.from_folder(make(root, ("test", "val"))),
    "two validation parts": lambda root: data.from_folder(make(root, ("train", "val", "valid", "test"))),
    "a part and a class": lambda root: data.from_folder(make(make(root, ("train", "test")))),
    "several sizes": lambda root: data.from_folder(save(make(root) / "dog" / "z.png", pixels(0, 9, 8)).parents[1]),
    "size": lambda root: data.from_folder(make(root), size=0),
    "size of three": lambda root: data.from_folder(make(root), size=(1, 2, 3)),
    "huge size": lambda root: data.from_folder(make(root), size=10**6),
    "resize": lambda root: data.from_folder(make(root), resize="pad"),
    "colour": lambda root: data.from_folder(make(root), colour="red"),
    "bad images": lambda root: data.from_folder(make(root), bad_images="ignore"),
    "validation twice": lambda root: data.from_folder(make(root, ("train", "val", "test")), validation=0.1),
    "components": lambda root: data.from_folder(make(root), components="gray"),
    "a loop": lambda root: data.from_folder((root / "self").symlink_to("self") or root / "self"),
    "a data directory that is a file": lambda root: data.from_folder(
        make(root), data_dir=save(root.parent / "x.png", pixels(0))
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_does_not_fit_is_one_sentence(tmp_path, name):
    root = tmp_path / "pets"
    root.mkdir()
    with pytest.raises(UserError) as error:
        CASES[name](root)
    assert "\n" not in str(error.value)
    assert str(root) in str(error.value) or "`" in str(error.value) or "cannot write to" in str(error.value)


def test_a_class_of_which_nothing_can_be_read_is_refused(tmp_path):
    root = make(tmp_path / "pets")
    for file in (root / "cat").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match="'cat'"):
        data.from_folder(root, bad_images="skip")
    for file in (root / "dog").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match="none can be read"):
        data.from_folder(root, bad_images="skip")


def test_names_that_are_no_text(tmp_path):
    root = make(tmp_path / "pets")
    strange = Path(os.fsdecode(os.fsencode(root / "dog") + b"/\xff\x1b[31m.png"))
    shutil.copy(root / "dog" / "0.png", strange)
    splits = data.from_folder(root)
    assert len(splits.train) + len(splits.test) == 13
    strange.write_bytes(b"")
    with pytest.raises(UserError) as error:
        data.from_folder(root)
    assert "\x1b" not in str(error.value)


def decode_beside(root, results):
    results.put(data.from_folder(root, size=5).digest)


@pytest.mark.slow
def test_processes_that_come_at_once_decode_once_and_get_the_same(tmp_path):
    import multiprocessing

    root = make(tmp_path / "pets")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=decode_beside, args=(root, results)) for _ in range(2)]
    for process in processes:
        process.start()
    digests = {results.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    assert digests == {data.from_folder(root, size=5).digest}
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_data_directory_that_may_only_be_read_is_read(tmp_path, monkeypatch):
    root = make(tmp_path / "pets")
    digest = data.from_folder(root).digest

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    assert data.from_folder(root).digest == digest
    with pytest.raises(UserError, match="cannot write to"):
        data.from_folder(root, size=4)


def test_what_stops_the_decoding_leaves_what_was_there(tmp_path, monkeypatch):
    root = make(tmp_path / "pets")
    digest = data.from_folder(root).digest
    save(root / "cat" / "z.png", pixels(1))

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("fourfold.data.own.decoded.byte_sums", stopped)
        with pytest.raises(KeyboardInterrupt):
            data.from_folder(root)
    assert not list((tmp_path / "cache").rglob("*.part"))
    (root / "cat" / "z.png").unlink()
    assert data.from_folder(root).digest == digest


def test_a_bar_is_drawn_on_standard_error_when_it_is_asked_for(tmp_path, capsys):
    root = make(tmp_path / "pets")
    data.from_folder(root)
    assert capsys.readouterr() == ("", "")
    data.from_folder(root, size=4, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "decoding images" in err
    assert "12/12" in err


def test_a_line_is_said_now_and_then_where_standard_error_is_no_terminal(tmp_path, capsys, monkeypatch):
    now = iter(range(1000))
    monkeypatch.setattr(decoded, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with decoded._Bar(100_000, None) as advance:
        for _ in range(25):
            advance(4_000)
    assert capsys.readouterr() == ("", "read 40,000 of 100,000 images\nread 80,000 of 100,000 images\n")
    with decoded._Bar(100, False) as advance:
        advance(100)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(decoded, "SECONDS_BETWEEN_LINES", 0)
    data.from_folder(make(tmp_path / "pets"))
    assert capsys.readouterr() == ("", "read 12 of 12 images\n")


MANY = 100_000 if "FOURFOLD_SWEEP" in os.environ else 3_000
MOST_MIB = 700
"""Of the process that decodes them, torch included: 100,000 of 64 × 64 pixels are 1.2 GB."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_images_are_listed_and_read_with_a_bar_in_bounded_memory_and_damaged_ones_are_named(tmp_path):
    """The images are links to a few files: what counts is how many there are."""
    for number in range(10):
        save(tmp_path / "drawn" / f"{number}.png", np.full((64, 64, 3), 20 * number, np.uint8))
    for number in range(MANY):
        file = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        os.link(tmp_path / "drawn" / f"{number % 10}.png", file)
    bad = tmp_path / "photos" / "a" / f"{MANY // 2}.png"
    bad.unlink(missing_ok=True)
    bad.write_bytes(b"no image")
    program = (
        "import sys\n"
        "from fourfold import data\n"
        "try:\n"
        "    data.from_folder('photos', data_dir='cache', progress=True)\n"
        "except ValueError as error:\n"
        "    print(error)\n"
        "splits = data.from_folder('photos', data_dir='cache', progress=True, bad_images='skip')\n"
        "print(len(splits.train) + len(splits.test), *splits.notices)\n"
        "batches = sum(len(labels) for _, labels in splits.train.epoch(500, seed=0))\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(batches, int(peak.split()[1]) // 1024)\n"  # ru_maxrss may be that of the process before it
    )
    words = [sys.executable, "-c", program]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=3500)
    refused, counted, (read, mebibytes) = *ended.stdout.splitlines()[:2], ended.stdout.splitlines()[2].split()
    assert f"photos/a/{bad.name} cannot be read as an image (it is of no format that is read)" in refused
    assert "`bad_images='skip'` leaves such files out" in refused
    assert counted.startswith(f"{MANY - 1} ")
    assert bad.name in counted
    assert int(read) == MANY - 1 - round((MANY - 1) * 0.2)
    assert int(mebibytes) < MOST_MIB
    assert "%" in ended.stderr
