"""`predict` takes pictures of every mode and array files of every layout, or refuses each in one sentence."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_samples import call
from PIL import Image
from torch import nn

from fourfold import deploy
from fourfold.cli import predict

GREY, COLOUR = (1, 8, 8), (3, 8, 8)
RED = (200, 40, 60)
MODES = ("1", "L", "P", "PA", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N", "RGB", "RGBA", "RGBa", "RGBX", "CMYK")
RESIZES = ("crop", "fit", "stretch")
MODES += ("YCbCr", "HSV", "LAB")


def encoding_of(shape):
    return deploy.Encoding(kind="none", n=1, shape=shape, mean=(0.5,) * shape[0], std=(0.2,) * shape[0])


def pack(shape, names=("cat", "dog", "newt")):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], len(names)))
    program = deploy.lower(network, shape, encoding=encoding_of(shape), class_names=names)
    deploy.pack(program, "a.safetensors")


def picture(mode, size=(8, 8)):
    """One colour in a mode, and what it is as RGB."""
    if mode == "1":
        return Image.new("1", size, 1), (255,) * 3
    if mode == "I" or mode.startswith("I;16"):
        # "I" holds 16 bits, too
        return Image.frombytes(mode, size, np.full(size, 40_000, kinds(mode)).tobytes()), (40_000 // 256,) * 3
    if mode == "F":
        return Image.new("F", size, 0.4), (102,) * 3
    if mode in ("L", "LA", "La"):
        return Image.new(mode, size, 90 if mode == "L" else (90, 255)), (90,) * 3
    if mode in ("P", "PA"):
        image = Image.new("P", size, 1)
        image.putpalette([0, 0, 0, *RED])
        return (image if mode == "P" else image.convert("PA")), RED
    if mode == "LAB":
        return Image.frombytes("LAB", size, bytes((128, 0, 0)) * (size[0] * size[1])), (119,) * 3  # half of lightness, neutral
    if mode in ("RGBA", "RGBa"):
        return Image.new("RGBA", size, (*RED, 255)).convert(mode), RED
    if mode == "RGBX":
        return Image.frombytes("RGBX", size, bytes((*RED, 9)) * (size[0] * size[1])), RED
    return Image.new("RGB", size, RED).convert(mode), RED


def kinds(mode):
    return {"I": np.int32, "I;16B": ">u2"}.get(mode, "<u2")


@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_any_mode_becomes_what_the_network_takes(here, monkeypatch, shape, mode):
    image, colour = picture(mode)
    assert image.mode == mode
    path = here / "a.tiff"
    path.touch()
    # Few formats hold all modes: what a file gives is the mode itself.
    monkeypatch.setattr(Image, "open", lambda *_, **__: image)
    ((name, pixels),) = predict._images(path, encoding_of(shape))
    wanted = colour if shape[0] == 3 else (np.dot(colour, (0.299, 0.587, 0.114)),)
    assert (name, pixels.shape, pixels.dtype) == (str(path), (8, 8, shape[0]), np.uint8)
    assert np.abs(pixels.astype(float) - wanted).max() <= 4  # YCbCr, HSV and LAB round


def test_the_modes_are_all_that_pillow_has():
    assert {mode for mode in Image.MODES if not mode.startswith("BGR;")} <= set(
        MODES
    )  # BGR;15 is of old versions, in memory only


@pytest.mark.parametrize("suffix", ["png", "gif", "tiff", "jpeg", "webp", "bmp"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_files_of_any_mode_are_classified(here, suffix, mode):
    if mode == "I;16" and suffix not in ("png", "tiff"):
        pytest.skip(f"{suffix} holds no {mode}: Pillow writes the lower bits alone, or none")
    pack(COLOUR)
    image, colour = picture(mode)
    try:
        image.save(f"x.{suffix}")
    except (OSError, ValueError):
        pytest.skip(f"{suffix} holds no {mode}")
    Image.new("RGB", (8, 8), colour).save("plain.png")
    ended = call("predict", "a.safetensors", f"x.{suffix}", "plain.png")
    assert (ended.code, ended.err) == (0, "")
    found, wanted = (line.partition(": ")[2] for line in ended.out.splitlines())
    if suffix in ("png", "tiff", "bmp", "gif"):
        assert found == wanted
    assert [word.split()[0] for word in found.split(", ")] == [word.split()[0] for word in wanted.split(", ")]
    assert {"cat", "dog", "newt"} == {word.split()[0] for word in found.split(", ")}


def test_the_first_frame_is_taken_and_exif_turns_before_sizes_are_compared(here):
    frames = [Image.new("L", (8, 6), value) for value in (40, 200)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    wide = encoding_of((1, 6, 8))
    ((_, pixels),) = predict._images(Path("a.gif"), wide)
    assert (pixels == 40).all()
    values = np.arange(48, dtype=np.uint8).reshape(8, 6)  # lies on its side
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save("turned.png", exif=exif)
    ((_, pixels),) = predict._images(Path("turned.png"), wide)
    assert np.array_equal(pixels[:, :, 0], np.rot90(values, -1))
    exif[0x0112] = 1
    Image.fromarray(values).save("upright.png", exif=exif)
    pack((1, 6, 8))
    assert "upright.png is 6×8 pixels, and must be 8×6; --resize" in call("predict", "a.safetensors", "upright.png").err


def test_resize_says_what_becomes_of_another_size(here):
    values = np.zeros((8, 16), np.uint8)
    values[:, 4:12] = 255  # the middle is white
    Image.fromarray(values).save("wide.png")
    found = {
        how: predict._images(Path("wide.png"), encoding_of(GREY), how)[0][1][:, :, 0] for how in ("crop", "fit", "stretch")
    }
    assert (found["crop"] == 255).all()
    assert not found["fit"][:2].any()
    assert not found["fit"][6:].any()
    assert found["fit"][2:6, 3:5].all()
    assert np.array_equal(found["stretch"][0], found["stretch"][7])
    assert found["stretch"][0, 3] == 255
    assert found["stretch"][0, 0] == 0
    pack(GREY)
    for how in found:
        assert call("predict", "a.safetensors", "wide.png", "--resize", how).out.startswith("wide.png: ")
        Image.new("1", (3000, 3)).save("odd.png")
        assert call("predict", "a.safetensors", "odd.png", "--resize", how).code == 0


LAYOUTS = {
    "one": lambda images: images[0],
    "several": lambda images: images,
    "channels first": lambda images: images.transpose(0, 3, 1, 2),
    "one, channels first": lambda images: images[0].transpose(2, 0, 1),
}


@pytest.mark.parametrize("shape", [(1, 6, 8), (3, 6, 8)], ids=["grey", "colour"])
@pytest.mark.parametrize("layout", [*LAYOUTS, "no channels"])
def test_arrays_of_any_layout_are_the_same_images(here, shape, layout):
    if layout == "no channels" and shape[0] != 1:
        pytest.skip("only grey images have none")
    images = np.random.default_rng(0).integers(0, 256, (4, *shape[1:], shape[0]), dtype=np.uint8)
    array = images[..., 0] if layout == "no channels" else LAYOUTS[layout](images)
    np.save("a.npy", array)
    np.savez_compressed("a.npz", x_test=array, y_test=np.zeros(4, np.int64))
    for path, name in (("a.npy", "a.npy"), ("a.npz", "a.npz[x_test]")):
        found = predict._images(Path(path), encoding_of(shape))
        assert [name for name, _ in found] == ([name] if "one" in layout else [f"{name}[{k}]" for k in range(4)])
        assert np.array_equal([pixels for _, pixels in found], images[: len(found)])


def odd_files(here):
    (here / "folder").mkdir()
    (here / "folder.npy").mkdir()
    (here / "folder.npz").mkdir()
    os.mkfifo(here / "pipe.png")
    os.mkfifo(here / "pipe.npy")
    os.mkfifo(here / "pipe.npz")
    (here / "loop.png").symlink_to("loop.png")
    np.savez("labels.npz", y=np.zeros(8, np.int64))
    np.savez("none.npz")
    np.savez("objects.npz", x=np.array([{}, None]))
    Image.new("F", (8, 8), 300.0).save("bright.tiff")
    (here / "image.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")


ODD = ("folder", "folder.npy", "folder.npz", "pipe.png", "pipe.npy", "pipe.npz", "loop.png", "labels.npz", "none.npz")
ODD += (
    "objects.npz",
    "bright.tiff",
    "image.eps",
    "nothing.png",
    "nothing.npy",
    "nothing.npz",
    "/dev/null",
    "/dev/zero",
    "x" * 300,
)


@pytest.mark.parametrize("resize", [[], ["--resize", "fit"]], ids=["as they are", "resized"])
@pytest.mark.parametrize("name", ODD)
def test_what_is_no_image_is_one_sentence_that_names_it(here, name, resize):
    pack(GREY)
    odd_files(here)
    ended = call("predict", "a.safetensors", name, *resize)
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith(f"fourfold: {name}")


def test_networks_that_do_not_classify_and_channels_of_no_picture_are_one_sentence(here):
    deploy.pack(nn.Conv2d(1, 2, 1), "map.safetensors", encoding=encoding_of(GREY))
    assert (
        "map.safetensors: expected a network that gives a number per class" in call("predict", "map.safetensors", "a.png").err
    )
    pack((2, 8, 8))
    Image.new("L", (8, 8)).save("a.png")
    assert "a.png must be .npy or .npz: the network takes 2 channels" in call("predict", "a.safetensors", "a.png").err
