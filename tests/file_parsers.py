"""Every parser of a file that others may have made, with files that it reads; artifacts have `deploy/fuzz_artifacts.py`."""

import gzip
import io
import json
import pickle
import random
import shutil
import tarfile
import tempfile
import wave
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fake_files import idx_bytes
from file_mutations import (
    Mutation,
    bytes_changed,
    checkpoint_changed,
    header_changed,
    json_changed,
    lines_changed,
    text_changed,
)
from fourfold import data
from fourfold.cli.predict import _array
from fourfold.data import archives
from fourfold.data.batches import read_batch
from fourfold.data.folders import _decode, read_folder
from fourfold.data.idx import read_idx
from fourfold.data.official import SOURCES
from fourfold.data.own.image_files import BadImageError, Form, decode
from fourfold.data.own.label_images import Labelling
from fourfold.data.own.npz import parts_of, read_arrays
from fourfold.data.sequences.speech import read_wav, speech_features
from fourfold.data.sequences.ts import read_ts
from fourfold.data.shards import listed
from fourfold.record import (
    Connectivity,
    ConnectivityRow,
    DataSpec,
    Epoch,
    ModelSpec,
    OverlapRow,
    Promised,
    Provenance,
    Row,
    RunStore,
    Spec,
    UserError,
)
from fourfold.record.array_files import place_of
from fourfold.record.arrays import ArraysError, pack
from fourfold.record.checkpoints import Part, Training, UnusableCheckpointError, verify, where, write
from fourfold.record.files import read_file
from fourfold.record.journal import sealed_lines
from fourfold.record.packing import compressed

REFUSALS = (UserError, ArraysError, UnusableCheckpointError, BadImageError)
"""What a parser raises for a file that it does not take, with a sentence."""

SIZE = 6
"""Height and width of images here."""


def as_it_is(content: bytes) -> bytes:
    return content


@dataclass(frozen=True, kw_only=True)
class Parser:
    """What reads one kind of file."""

    name: str
    """Of the file, below a folder."""
    parse: Callable[[Path], object]
    samples: tuple[bytes, ...]
    """Contents that it takes."""
    mutations: tuple[Mutation, ...] = (bytes_changed,)
    wrap: Callable[[bytes], bytes] = as_it_is
    """Makes the file of a content: what is compressed or packed is changed inside, too."""
    most_bytes: int = 2**26
    """Memory that reading may take beyond what was taken before, at any time."""


RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)
SPEC = Spec(preset="sample", data=DataSpec(name="digits"), model=ModelSpec(name="lenet-12"))
PROVENANCE = Provenance(seconds=0.25, finished="2026-01-02T03:04:05+00:00", device="cpu", versions={"torch": "2"})
MASKS = {"1.weight": np.array([255, 129], np.uint8), "3.weight": np.array([7], np.uint8)}
WEIGHTS = {"fc1.weight": RANDOM.normal(size=(3, 4)).astype("f4"), "n": np.array(3)}


def row(level: int) -> Row:
    curve = (Epoch(epoch=1, train_loss=0.3, top1=81.25, loss=0.3),)
    return Row(
        run=SPEC.id,
        preset="sample",
        dataset="digits",
        model="lenet-12",
        algebra="real",
        trial=0,
        level=level,
        control="ticket",
        weights=88,
        weights_total=888,
        density=88 / 888,
        parameters=110,
        parameters_total=910,
        parameters_real=910,
        fraction_of_real=110 / 910,
        macs=88,
        macs_dense=888,
        macs_real=888,
        stored_bytes=551,
        top1=81.25,
        loss=0.3,
        train_loss=0.3,
        steps=24,
        layers={"fc1": (68, 768), "fc2": (20, 120)},
        epochs=curve,
        mask=f"{level}" * 64,
        data="a" * 64,
        provenance=PROVENANCE,
        promised=Promised(mask=f"{level + 1}" * 64),
    )


CONNECTIVITY = ConnectivityRow(
    run=SPEC.id,
    trial=0,
    level=0,
    fraction_of_real=0.5,
    mask="0" * 64,
    provenance=PROVENANCE,
    connectivity=Connectivity(step=0, positions=(0.0, 1.0), errors=(10.0, 11.0), losses=(0.1, 0.2)),
)
OVERLAP = OverlapRow(run=SPEC.id, level=1, trials=(0, 1), fraction_of_real=0.5, both=3, either=5, expected=2.0, deviation=1.0)


def lines_of(*entries: Any) -> bytes:
    return "".join(line + "\n" for line in sealed_lines([entry.to_line() for entry in entries])).encode()


def saved(format_: str, mode: str = "RGB", values: int = 256, **options: Any) -> bytes:
    pixels = RANDOM.integers(0, values, (SIZE, SIZE, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode) if values == 256 else Image.fromarray(pixels[..., 0]).convert(mode)
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def zipped(content: bytes, name: str = "x.npy") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        archive.writestr("y.npy", npy(np.arange(3)))
    return stream.getvalue()


def tar(names: list[str], content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return stream.getvalue()


def recording() -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(RANDOM.integers(-1000, 1000, 300).astype("<i2").tobytes())
    return stream.getvalue()


def checkpoint() -> bytes:
    arrays = {"network/w": np.arange(12, dtype=np.float32), "masks/w": np.array([1], np.uint8), "loss": np.array(0.25)}
    parts = {
        name: Part(dtype=str(array.dtype), shape=array.shape, fetch=lambda array=array: array) for name, array in arrays.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it"
        write(path, IDENTITY, {"epoch": 3, "step": 7, "steps": 24, "epochs": 40, "seconds": 1.0, "curve": []}, parts)
        return path.read_bytes()


IDENTITY = {"version": "1", "spec": SPEC.id, "trial": 0, "level": 2, "control": "ticket", "stage": ""}
CIFAR = data.info("cifar-10")
TS = b"@problemName Toy\n@timeStamps false\n@classLabel true up down\n@data\n1,2,3:4,5,6:up\n7:?:down\n-1,1e1:0.5,2:up\n"


def unpacked(path: Path) -> None:
    """Take an archive apart in a folder of its own."""
    folder = path.parent / "unpacked"
    folder.mkdir(exist_ok=True)
    try:
        archives.unpack(path, SOURCES["cifar-10"].archives[0], SOURCES["cifar-10"], folder)
    finally:
        shutil.rmtree(folder)


def stored(path: Path) -> RunStore:
    return RunStore(path.parent)


def read_checkpoint(path: Path) -> None:
    """Do all that commands do with a checkpoint."""
    folder = RunStore(path.parent.parent).checkpoints
    for training, position in folder.positions().items():
        assert training.level == 2
        where(position)
    if path.is_file():
        verify(read_file(path, 2**26), "it")
    folder.load(Training(0, 2), {"version": "1", "spec": SPEC.id}, most_bytes=2**20)


def tree(path: Path, size: int) -> None:
    """Read a list of validation images beside the list of classes."""
    for file in ("wnids.txt", "val/images/val_0.JPEG", "val/images/val_1.JPEG"):
        (path.parent.parent / file).parent.mkdir(exist_ok=True)
        if not (path.parent.parent / file).exists():
            (path.parent.parent / file).write_bytes(b"n00000001\nn00000002\n" if file == "wnids.txt" else saved("JPEG"))
    read_folder(path, replace(data.info("tiny-imagenet"), size=size))


def _parsers() -> dict[str, Parser]:
    batch = {"data": PIXELS.repeat(192, 0).reshape(-1)[: 3 * 3072].reshape(3, 3072), "labels": [0, 1, 9]}
    form, cut = Form(size=(SIZE, SIZE), resize=None, colour="rgb"), Form(size=(4, 4), resize="crop", colour="grey")
    pictures = (
        *(saved(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA", "PCX", "ICO", "SGI", "DDS")),
        *(saved("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")),
        *(saved("TIFF", mode, compression=how) for mode, how in (("L", "tiff_lzw"), ("RGB", "jpeg"), ("I;16", None))),
        *(saved("JPEG", mode) for mode in ("L", "CMYK")),
        saved("JPEG", exif=Image.Exif().tobytes(), progressive=True),
        saved("JPEG2000"),
    )
    labels = Labelling(num_classes=3, palette=None, void=(255,))
    text, arrays = (bytes_changed, text_changed), (bytes_changed, header_changed)
    spec = json.dumps(SPEC.to_json() | {"data_sha256": "a" * 64, "code_sha256": {"roads.py": "b" * 64}}, indent=1).encode()
    shard = {"split": "train", "source": "train_data_batch_1", "images": 3, "sha256": "c" * 64}
    shards = json.dumps({"version": 1, "shards": [shard, shard | {"split": "test"}]}).encode()
    idx = tuple(idx_bytes(np.zeros(shape, np.uint8)) for shape in ((5, SIZE, SIZE), (1, SIZE, SIZE)))
    pickled = tuple(pickle.dumps(batch, protocol=protocol) for protocol in (2, 4, 5))

    def rows(name: str, samples: tuple[bytes, ...], parse: Callable[[Path], object]) -> Parser:
        return Parser(name=name, parse=parse, samples=samples, mutations=(bytes_changed, text_changed, lines_changed))

    def table(name: str, content: bytes, parse: Callable[[Path], object]) -> Parser:
        return Parser(name=name, parse=parse, samples=(content,), mutations=(bytes_changed, json_changed))

    return {
        "idx": Parser(name="i-idx3", parse=lambda path: read_idx(path, (SIZE, SIZE), 100), samples=idx),
        "idx, labels": Parser(name="l", parse=lambda path: read_idx(path, (), 100), samples=(idx_bytes(np.zeros(5)),)),
        "gzip": Parser(
            name="i.gz", parse=lambda path: read_idx(path, (SIZE, SIZE), 100), samples=idx, wrap=lambda c: gzip.compress(c, 1)
        ),
        "pickle": Parser(name="data_batch_1", parse=lambda path: read_batch(path, CIFAR, SOURCES["cifar-10"]), samples=pickled),
        "tar": Parser(name="a.tar.gz", parse=unpacked, samples=(tar(["x/data_batch_1", "../test_batch"], b"12345" * 30),)),
        "tar, gzipped": Parser(
            name="a.tar.gz",
            parse=unpacked,
            samples=(tar(["x/data_batch_1", "test_batch", "x" * 120 + "/data_batch_2"], b"12345" * 30),),
            wrap=lambda content: gzip.compress(content, 1),
        ),
        "zip": Parser(name="a.zip", parse=unpacked, samples=(zipped(b"12345" * 30, "x/test_batch"),)),
        "npz": Parser(
            name="a.npz",
            parse=lambda path: parts_of(read_arrays(path), path),
            samples=(npy(PIXELS), npy(np.array(["a", "b"])), npy(np.asfortranarray(PIXELS.astype("f4")))),
            wrap=zipped,
        ),
        "npy": Parser(name="a.npy", parse=_array, samples=(npy(PIXELS), npy(PIXELS[0].astype("f4")))),
        "ts": Parser(name="a.ts", parse=read_ts, samples=(TS,), mutations=text),
        "wav": Parser(name="a.wav", parse=lambda path: speech_features(*read_wav(path)), samples=(recording(),)),
        "pictures": Parser(name="a", parse=lambda path: decode(path, form), samples=pictures, most_bytes=2**29),
        "pictures, cut": Parser(name="a", parse=lambda path: decode(path, cut), samples=pictures, most_bytes=2**30),
        "label images": Parser(
            name="a.png",
            parse=lambda path: labels.read(path, (SIZE, SIZE), (4, 4)),
            samples=tuple(saved(kind, mode, 3) for kind, mode in (("PNG", "L"), ("PNG", "1"), ("GIF", "P"), ("TIFF", "L"))),
        ),
        "pictures of Tiny ImageNet": Parser(name="a.JPEG", parse=lambda path: _decode(path, SIZE), samples=(saved("JPEG"),)),
        "lists of Tiny ImageNet": Parser(
            name="val/val_annotations.txt",
            parse=lambda path: tree(path, SIZE),
            samples=(b"val_0.JPEG\tn00000001\t0\t0\t62\t62\nval_1.JPEG\tn00000002\t0\t0\t62\t62\n",),
            mutations=text,
        ),
        "lists of shards": table("packed.json", shards, lambda path: listed(path.parent)),
        "spec.json": table("spec.json", spec, lambda path: (stored(path).spec(), stored(path).data(), stored(path).code())),
        "failed-*.json": table(
            "failed-0.json",
            json.dumps({"run": SPEC.id, "trial": 0, "control": "ticket", "level": 3, "reason": "nan"}).encode(),
            lambda path: stored(path).failure(0),
        ),
        "rows": rows("rows-0.jsonl", (lines_of(row(0), row(1), row(2)),), lambda path: written_again(stored(path).rows(0))),
        "packed rows": Parser(
            name="rows-0.jsonl.xz",
            parse=lambda path: written_again(stored(path).rows(0)),
            samples=(lines_of(row(0), row(1), row(2)),),
            mutations=(bytes_changed,),
            wrap=compressed,
        ),
        "rows of a control": rows(
            "rows-0-inverted.jsonl",
            (lines_of(*(replace(row(level), control="inverted", promised=None) for level in (1, 2))),),
            lambda path: written_again(stored(path).control_rows(0, "inverted")),
        ),
        "connectivity": rows(
            "connectivity-0.jsonl", (lines_of(CONNECTIVITY),), lambda path: written_again(stored(path).connectivity(0))
        ),
        "overlaps": rows("overlaps.jsonl", (lines_of(OVERLAP),), lambda path: written_again(stored(path).overlaps())),
        "masks": Parser(
            name="masks/0-1.safetensors",
            parse=lambda path: RunStore(path.parent.parent).mask(0, 1, most_bytes=2**20),
            samples=(pack(MASKS),),
            mutations=arrays,
        ),
        "states and weights": Parser(
            name="weights/0-1.safetensors",
            parse=lambda path: RunStore(path.parent.parent).weights(0, 1),
            samples=(
                pack({"fc1.weight": RANDOM.normal(size=(3, 4)).astype("f4"), "n": np.array(3)}, place=place_of(SPEC.id, 0, 1)),
            ),
            mutations=arrays,
        ),
        "examples": Parser(
            name="examples/0-0.safetensors",
            parse=lambda path: RunStore(path.parent.parent).examples(0),
            samples=tuple(pack(example, place=place_of(SPEC.id, 0, 0)) for example in (example_maps(), example_boxes())),
            mutations=arrays,
        ),
        "checkpoints": Parser(
            name="checkpoints/0-2.safetensors",
            parse=read_checkpoint,
            samples=(checkpoint(),),
            mutations=(bytes_changed, header_changed, checkpoint_changed, checkpoint_changed),
        ),
    }


def example_maps() -> dict[str, Any]:
    """Return the examples of a dense network that segments."""
    labels = RANDOM.integers(0, 3, (2, 4, 5)).astype("u1")
    return {"map": labels, "truth.map": labels, "images": RANDOM.integers(0, 256, (2, 3, 4, 5)).astype("u1")}


def example_boxes() -> dict[str, Any]:
    """Return the examples of a ticket that detects."""
    return {
        "boxes": RANDOM.random((2, 3, 4)).astype("f4"),
        "scores": RANDOM.random((2, 3)).astype("f4"),
        "labels": np.array([[0, 1, -1], [2, -1, -1]], "i2"),
    }


def written_again(entries: list[Any]) -> None:
    """Write what was read again: it must be what JSON holds."""
    for entry in entries:
        entry.to_line()


def prepare(path: Path) -> None:
    """Make the folder of a file; where it is that of a run, with its spec."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".jsonl" in path.suffixes or path.name == "failed-0.json" or path.suffix == ".safetensors":
        run = path.parent.parent if path.suffix == ".safetensors" else path.parent
        (run / "spec.json").write_text(json.dumps(SPEC.to_json()))


def mutated(parser: Parser, draw: random.Random) -> bytes:
    """Return a file of a parser's kind, changed in one way or another."""
    content, change = draw.choice(parser.samples), draw.choice(parser.mutations)
    if parser.wrap is as_it_is or draw.random() < 0.5:
        return parser.wrap(change(content, draw))
    return change(parser.wrap(content), draw)


PARSERS = _parsers()
