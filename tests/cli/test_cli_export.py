"""`export` writes a kept level in every form, and `predict` classifies images with the artifact."""

import ctypes
import shutil
import struct
import subprocess
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from cli_samples import call, make_row, make_run, make_spec
from PIL import Image
from torch import nn

from fourfold import data, deploy, lottery, pruning
from fourfold.cli import predict
from fourfold.cli.export import TARGETS
from fourfold.cli.tickets import program_of
from fourfold.deploy.backends import numpy as reference
from fourfold.nn import named_weights
from fourfold.parts import build
from fourfold.record import RunStore, UserError


@pytest.fixture
def run(here):
    """A run of quaternion Lenet-12 on the digits whose level 1 of trial 0 was kept."""
    spec = make_spec("quaternion")
    store = RunStore.create(here / "runs", spec)
    network = build(spec, lottery.derive_seed(0, "weights"))
    masks = pruning.prune(network, density=0.5)
    store.save_mask(0, 1, pruning.pack(masks))
    store.save_weights(0, 1, pruning.compress(network.state_dict(), masks))
    for level in (0, 1):
        mask = pruning.fingerprint(pruning.pack(masks if level else pruning.dense(masks)))
        store.append(replace(make_row(spec, 0, level, 81.25), mask=mask))
    return store


def written(ended):
    assert (ended.code, ended.err) == (0, "")
    return [line.split()[1] for line in ended.out.splitlines() if line.startswith("wrote ")]


def digits():
    """Test images of the digits, uint8 (N, 8, 8, 1), and as the network sees them."""
    images = data.load("digits")
    splits = data.prepare(images, make_spec("quaternion").inputs, 4, "cpu")
    seen = torch.cat([batch for batch, _ in splits.test.batches(100)])
    return images.test_images.transpose(0, 2, 3, 1), seen


def outputs(store):
    with torch.no_grad():
        return lottery.load_trained(store, 0, 1)(digits()[1]).numpy()


def test_an_artifact_holds_the_level_with_encoding_names_and_provenance(run):
    (path,) = written(call("export", run.spec().id, "--level", 1))
    assert path == f"{run.spec().id}-0-1.safetensors"
    program = deploy.read(path)
    found = reference.run(program, reference.encode(program.encoding, digits()[0]))
    assert np.abs(found - outputs(run)).max() < 1e-4
    assert program.class_names == tuple("0123456789")
    known = {"run": run.spec().id, "trial": "0", "level": "1", "top1": "81.25", "weights": "100", "torch": "2"}
    assert known.items() <= program.provenance.items()


def test_a_real_network_that_saw_encoded_images_is_given_encoded_images(here):
    quaternion = make_spec("quaternion")
    spec = replace(quaternion, data=replace(quaternion.data, encode_real=True)).real_twin
    program = program_of(RunStore.create(here / "runs", spec), build(spec, 0).eval(), 0, 0)
    images, seen = digits()
    assert np.allclose(reference.encode(program.encoding, images), seen.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["folder", "id", "folder of runs"])
def test_a_run_is_named_by_its_folder_or_its_id(run, name):
    given = {"folder": run.path, "id": run.spec().id, "folder of runs": "runs"}[name]
    assert written(call("export", given, "--level", 1, "--to", "artifact", "--out", "a.safetensors")) == ["a.safetensors"]


def test_values_are_those_asked_for(run):
    call("export", run.path, "--level", 1, "--out", "a.safetensors")
    by_percentile = call(
        "export", run.path, "--level", 1, "--out", "c.safetensors", "--values", "int8", "--ranges", "percentile"
    )
    ended = call("export", run.path, "--level", 1, "--out", "b.safetensors", "--values", "int8", "--entropy")
    for name, printed in (("b", ended.out), ("c", by_percentile.out)):
        assert f"logits moved by {deploy.read(f'{name}.safetensors').provenance['logits moved']}" in printed
    assert deploy.read("b.safetensors").ranges[0] == deploy.read("c.safetensors").ranges[0]  # of bytes, by their encoding
    assert deploy.read("b.safetensors").ranges != deploy.read("c.safetensors").ranges
    exact, rounded = deploy.read("a.safetensors"), deploy.read("b.safetensors")
    assert not exact.ranges
    assert set(rounded.ranges) == set(range(len(rounded.shapes)))
    assert len(np.unique(rounded.operations[1].product.weight[:, 0])) <= 127
    assert call("export", run.path, "--level", 1, "--to", "onnx", "--values", "int8").err.count("`--values` (='int8')") == 1


def test_int8_without_the_data_says_so(run, monkeypatch):
    def absent(*arguments, **named):
        raise UserError("missing")

    monkeypatch.setattr(data, "load", absent, raising=False)
    ended = call("export", run.path, "--level", 1, "--values", "int8", "--out", "a.safetensors")
    assert "without ranges for int8 arithmetic: digits is not here" in ended.out
    ended = call("export", run.path, "--level", 1, "--to", "c", "--values", "int8")
    assert ended.code == 2
    assert "`--values int8` must have images to calibrate with: digits is not here; --data-dir" in ended.err


def test_the_other_forms(run):
    onnxruntime = pytest.importorskip("onnxruntime")
    (path,) = written(call("export", run.path, "--level", 1, "--to", "onnx"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": digits()[1].numpy()})
    assert np.abs(found - outputs(run)).max() < 1e-4
    (path,) = written(call("export", run.path, "--level", 1, "--to", "torch"))
    network = build(run.spec())
    network.load_state_dict(safetensors.torch.load_file(path))
    assert all(torch.equal(w, named_weights(lottery.load_trained(run, 0, 1))[n]) for n, w in named_weights(network).items())
    files = written(call("export", run.path, "--level", 1, "--to", "c", "--out", "c"))
    assert sorted(file.rpartition(".")[2] for file in files) == ["c", "h"]


def test_c_in_int8_computes_what_the_runtime_does_bit_for_bit(run, here):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not here")
    files = written(call("export", run.path, "--level", 1, "--to", "c", "--values", "int8", "--out", "c"))
    source, header = sorted(files)
    assert "Values are uint8; a level of one stands for scale * (level - zero):" in (here / header).read_text()
    subprocess.run(
        ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", source, "-o", "n.so"], check=True
    )
    network, images = ctypes.CDLL(str(here / "n.so")), np.ascontiguousarray(digits()[0])
    found = np.empty((len(images), 10), np.float32)
    for image, logits in zip(images, found, strict=True):
        network.network_run_bytes(ctypes.c_void_p(image.ctypes.data), ctypes.c_void_p(logits.ctypes.data))
    call("export", run.path, "--level", 1, "--values", "int8", "--out", "a.safetensors")
    assert np.array_equal(found, deploy.load("a.safetensors")(images))
    assert 0 < np.abs(found - outputs(run)).max() < 0.1 * np.abs(found).max()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere", "--level", "1"], "there is no run 'nowhere'; name a run's folder, or the id of one in ./runs"),
        (["RUN", "--level", "0"], "were not kept (only those of 1 were); the command that ran it, with `--keep 0`"),
        (["RUN", "--level", "1", "--trial", "3"], "level 1 of trial 3 in .* was never run"),
        (["RUN", "--level", "1", "--to", "tflite"], f"unknown target 'tflite'; known: {', '.join(sorted(TARGETS))}"),
        (["RUN", "--level", "1", "--values", "int4"], "unknown values 'int4'"),
        (["RUN", "--level", "1", "--to", "c", "--values", "codebook"], "with `--to c`, but for `--values int8`,"),
        (
            ["RUN", "--level", "1", "--to", "onnx", "--kernels", "dense"],
            "`--kernels` (='dense') cannot be combined with `--to onnx`",
        ),
        (["RUN", "--level", "1", "--to", "c", "--kernels", "fast", "--out", "c"], "unknown kernels 'fast'"),
        (["RUN", "--level", "1", "--out", "none/a"], "cannot write none/a"),
        (["RUN"], "--level"),
    ],
)
def test_mistakes_of_export(run, words, sentence):
    ended = call("export", *(run.path if word == "RUN" else word for word in words))
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert all(part in ended.err for part in sentence.split(".*"))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "out", ["taken/below", "taken/far/below", "/proc/none/a", "a" * 300], ids=["below", "far", "proc", "long"]
)
def test_a_place_that_cannot_be_written_is_one_sentence(run, here, target, out):
    (here / "taken").write_text("a file")
    ended = call("export", run.path, "--level", 1, "--to", target, "--out", out)
    assert ended.code == 2
    assert ended.err.startswith(f"fourfold: cannot write {out}")
    assert len(ended.err.splitlines()) == 1
    assert (here / "taken").read_text() == "a file"
    if target == "c":
        assert "cannot write taken" in call("export", run.path, "--level", 1, "--to", "c", "--out", "taken").err


def test_a_folder_of_several_runs_is_ambiguous(run, here):
    make_run(here / "runs", "real")
    assert "runs: expected one run, found 2" in call("export", "runs", "--level", 1).err


@pytest.fixture
def artifact(run):
    call("export", run.path, "--level", 1, "--out", "a.safetensors")
    return "a.safetensors"


def test_predict_ranks_the_classes_of_pictures_and_arrays(run, artifact):
    images = digits()[0][:3]
    Image.fromarray(images[0, :, :, 0]).save("zero.png")
    np.save("one.npy", images[1])
    np.save("both.npy", images[1:])
    np.save("flat.npy", images[2, :, :, 0])
    ended = call("predict", artifact, "zero.png", "one.npy", "both.npy", "flat.npy", "--top", 2)
    assert (ended.code, ended.err) == (0, "")
    shares = torch.from_numpy(outputs(run)[:3]).softmax(1)
    expected = []
    for name, k in (("zero.png", 0), ("one.npy", 1), ("both.npy[0]", 1), ("both.npy[1]", 2), ("flat.npy", 2)):
        (first, second), (a, b) = shares[k].topk(2)
        expected.append(f"{name}: {a} {100 * first:.2f} %, {b} {100 * second:.2f} %")
    assert ended.out.splitlines()[-5:] == expected


def test_predict_of_palette_images_and_numbered_classes(here):
    torch.manual_seed(0)
    encoding = deploy.Encoding(kind="none", n=1, shape=(3, 4, 4), mean=(0.5,) * 3, std=(0.2,) * 3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    deploy.pack(model, "a.safetensors", encoding=encoding)
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 255, 0, 128])
    picture.save("p.png")
    pixels = np.broadcast_to(np.array([255, 0, 128], np.float32), (1, 4, 4, 3)).transpose(0, 3, 1, 2)
    with torch.no_grad():
        best = int(model(torch.from_numpy((pixels / 255 - 0.5) / 0.2)).argmax())
    assert call("predict", "a.safetensors", "p.png", "--top", 1).out.splitlines()[-1].startswith(f"p.png: {best} ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["none.safetensors", "a.png"], "cannot read none.safetensors"),
        (["a.safetensors", "none.png"], "none.png cannot be read as an image"),
        (["a.safetensors", "text.png"], "text.png cannot be read as an image"),
        (["a.safetensors", "large.png"], "large.png is 9×8 pixels, and must be 8×8; --resize crop, fit or stretch"),
        (["a.safetensors", "large.png", "--resize", "blur"], "unknown resize 'blur'; known: crop, fit, stretch"),
        (["a.safetensors", "text.npy"], "text.npy cannot be read as an array"),
        (
            ["a.safetensors", "float.npy"],
            "float.npy: expected uint8 (8, 8, 1), or several of them, found float32 of shape (8, 8)",
        ),
        (
            ["a.safetensors", "large.npy"],
            "large.npy: expected uint8 (8, 8, 1), or several of them, found uint8 of shape (2, 9, 8, 1)",
        ),
        (["a.safetensors"], "`IMAGE` must be given"),
        (["a.safetensors", "a.png", "--top", "0"], "`--top` (=0) must be at least 1"),
    ],
)
def test_mistakes_of_predict(artifact, here, words, sentence):
    for name in ("text.png", "text.npy"):
        (here / name).write_text("no image")
    Image.new("L", (9, 8)).save("large.png")
    np.save("float.npy", np.zeros((8, 8), np.float32))
    np.save("large.npy", np.zeros((2, 9, 8, 1), np.uint8))
    ended = call("predict", *words)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert sentence in ended.err


def bomb_png(width, height):
    """A picture whose header promises more pixels than fit into memory, in a hundred bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + end


def npy_header(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


BROKEN_FILES = {
    "bomb.png": bomb_png(50_000, 50_000),
    "large.png": bomb_png(12_000, 12_000),
    "long.pgm": b"P5\n" + b"1" * 5000 + b" 8\n255\n",
    "letters.pgm": b"P5\n8 x8\n255\n",
    "negative.pgm": b"P5\n-8 8\n255\n" + bytes(64),
    "short.pgm": b"P5\n8 8\n255\n" + bytes(3),
    "several.npy": None,
    "text.npz": b"no archive",
    "empty.npz": b"",
    "huge.npy": npy_header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999999, 8, 8, 1), }\n"),
    "overflow.npy": npy_header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (8, " + b"9" * 60 + b"), }\n"),
    "nested.npy": npy_header(b"(" * 5000),
    "objects.npy": npy_header(b"{'descr': '|O', 'fortran_order': False, 'shape': (8, 8), }\n") + bytes(99),
    "empty.npy": b"",
    "empty.png": b"",
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_broken_and_huge_images_are_one_sentence(here, name):
    encoding = deploy.Encoding(kind="none", n=1, shape=(1, 8, 8), mean=(0.5,), std=(0.2,))
    deploy.pack(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "a.safetensors", encoding=encoding)
    if name.startswith("several"):
        with Path(name).open("wb") as file:
            np.savez(file, a=np.zeros((8, 8), np.uint8), b=np.zeros(3))
    else:
        Path(name).write_bytes(BROKEN_FILES[name])
    ended = call("predict", "a.safetensors", name)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith(f"fourfold: {name}")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "pgm", "bmp", "gif", "tiff", "jpeg", "webp", "npy"])
def test_a_damaged_image_is_an_image_or_one_sentence(here, suffix):
    encoding = deploy.Encoding(kind="none", n=1, shape=(1, 8, 8), mean=(0.5,), std=(0.2,))
    random = np.random.default_rng(0)
    pixels, path = random.integers(0, 256, (8, 8), dtype=np.uint8), Path(f"image.{suffix}")
    if suffix == "npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(content[: random.integers(len(content) + 1)] if random.random() < 0.2 else content)
        for place in random.integers(len(damaged), size=random.integers(1, 4)) if damaged else ():
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow tells of damaged metadata, and goes on
            found, sentence = images_or_sentence(path, encoding)
        assert "\n" not in sentence
        assert all(image.shape == (8, 8, 1) and image.dtype == np.uint8 for _, image in found)


def images_or_sentence(path, encoding):
    try:
        return predict._images(path, encoding), ""
    except UserError as error:
        return [], str(error)


def test_an_artifact_without_encoding_cannot_be_given_images(here):
    deploy.pack(nn.Linear(4, 2), "a.safetensors", shape=(4,))
    assert "expected an encoding of images, found none" in call("predict", "a.safetensors", "b.png").err
