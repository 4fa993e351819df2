"""Benchmarks: every runtime computes the same network, the peers are optional, and the table says what was measured."""

import csv
import itertools
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_programs import bytes_for, random_program

from fourfold import data, deploy, models, pruning
from fourfold.cli import main
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.backends.c.emit import generate
from fourfold.deploy.bench import benchmark, peers
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.encoding import encoded_shape
from fourfold.deploy.ir.ops import Flatten
from fourfold.deploy.ir.program import Program
from fourfold.native import NoCompilerError, compiler
from fourfold.record import UserError

try:
    compiler()
except NoCompilerError as reason:
    pytest.skip(str(reason), allow_module_level=True)


@pytest.fixture(scope="module")
def program() -> Program:
    return random_program(1)


@pytest.fixture(scope="module")
def runtimes(program) -> dict[str, benchmark.Contender]:
    return benchmark.contenders(program)[0]


@pytest.mark.slow
def test_all_runtimes_compute_the_same_network(program, runtimes):
    pytest.importorskip("onnxruntime")
    images = benchmark.noise(program, 3)
    wanted = reference.run(program, images)
    for name, runtime in runtimes.items():
        outputs = runtime.run(images)
        tolerance = 1e-4 if "float32" in name else 0.1
        assert np.abs(outputs - wanted).max() <= tolerance * np.abs(wanted).max(), name
        assert runtime.model_bytes > 0


@pytest.mark.slow
def test_a_runtime_that_is_not_installed_is_left_out_with_a_sentence(program, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "openvino", None)
    runtimes, missing = benchmark.contenders(program)
    assert [name for name in runtimes if "openvino" in name] == []
    assert missing == [
        f"openvino {values} is left out: openvino is not installed; `pip install 'fourfold[bench]'` brings it"
        for values in ("float32", "int8")
    ]


def test_ratios_are_of_the_peer_in_the_same_round():
    images = np.zeros((1, 1), np.float32)
    calls: list[str] = []

    def contender(name: str, work: int) -> benchmark.Contender:
        def run(_: np.ndarray) -> np.ndarray:
            calls.append(name)
            return np.ones(work) + 1

        return benchmark.Contender(run=run, takes_bytes=False, model_bytes=1, runtime_bytes=0, peak_bytes=None)

    measured = benchmark.measure(
        {"small": contender("small", 10), benchmark.PEER: contender("peer", 3_000_000)}, images, rounds=3
    )
    assert measured[benchmark.PEER].ratios == (1, 1, 1)
    assert measured["small"].ratios[1] > 10
    assert measured["small"].seconds < measured[benchmark.PEER].seconds
    assert [name for name, _ in itertools.groupby(calls)][-6:] == ["small", "peer"] * 3  # in turn, not one after the other
    other = benchmark.measure(
        {"small": contender("small", 10), "large": contender("large", 10**6)}, images, rounds=1, peer="large"
    )
    assert other["large"].ratios == (1, 1, 1)
    with pytest.raises(UserError, match="`runtimes` \\(=small\\) must have 'onnxruntime float32'"):
        benchmark.measure({"small": contender("small", 10)}, images)


@pytest.mark.slow
def test_accuracy_counts_images_of_their_own_class_in_every_runtime():
    pytest.importorskip("onnxruntime")
    program = random_program(0)
    images = bytes_for(program, 0, 2 * benchmark.ACCURACY_BATCH + 1)
    logits = reference.run(program, reference.encode(program.encoding, images)).reshape(len(images), -1)
    program = assemble(
        program.shapes[0],
        [*program.operations, Flatten(name="flatten", inputs=(len(program.operations),), output=len(program.operations) + 1)],
        encoding=program.encoding,
    )
    labels = logits.argmax(1)
    labels[:67] = (labels[:67] + 1) % logits.shape[1]
    runtimes, _ = benchmark.contenders(program, images=images)
    for name in ("fourfold float32", "onnxruntime float32"):
        assert benchmark.accuracy(runtimes[name], program, images, labels) == pytest.approx(100 * (1 - 67 / 201))
    assert benchmark.accuracy(runtimes["fourfold int8"], program, images, labels) == pytest.approx(66.7, abs=5)


@pytest.mark.slow
def test_macs_are_those_that_the_models_room_counts():
    model = models.build("conv-2", algebra="quaternion", seed=0)
    masks = pruning.prune(model, density=0.1)
    shape = models.input_shape("conv-2", "quaternion")
    kept = {name.removesuffix(".weight"): int(mask.sum()) for name, mask in masks.items()}
    assert benchmark.macs(deploy.lower(model, shape)) == models.measure(model, shape).kept_macs(kept)


@pytest.mark.slow
@pytest.mark.skipif(not peers.STATUS.exists(), reason="this system does not tell a process's peak of memory")
def test_the_peak_of_a_peer_is_what_its_network_adds(tmp_path):
    pytest.importorskip("onnxruntime")
    peaks = {}
    for size in (64, 2048):
        program = deploy.lower(torch.nn.Linear(size, size), (size,))
        folder = tmp_path / str(size)
        folder.mkdir()
        peaks[size] = peers.peak_bytes("onnxruntime", peers.dense_file(program, folder), 1, (size,))
    assert 2**17 < peaks[64] < 40e6  # without the library itself, which is larger
    assert peaks[2048] - peaks[64] > 4 * 2048**2  # at least once in memory


def test_our_peak_is_the_memory_that_a_run_works_in_with_code_and_weights(program, runtimes):
    header = generate(program, "network").header
    (arena,) = re.findall(r"NETWORK_ARENA (\d+)", header)
    assert runtimes["fourfold float32"].peak_bytes == int(arena) + runtimes["fourfold float32"].model_bytes


def test_mistakes_of_the_command(capsys):
    for words, sentence in (
        ([], "`artifacts` (=none)"),
        (["no-such-file.safetensors"], "no-such-file"),
        (["a", "--threads", "0"], "`threads` (=0)"),
        (["a", "--images", "-1"], "`images` (=-1)"),
    ):
        with pytest.raises(SystemExit) as ending:
            main(["bench", "deploy", *words])
        assert ending.value.code == 2
        assert sentence in capsys.readouterr().err


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """An artifact of an untrained network for the digits, in the form that `fourfold export` writes."""
    about = {"dataset": "digits", "algebra": "quaternion", "top1": "9.50"}
    encoding = deploy.Encoding(kind="pixels", n=4, shape=(1, 8, 8), mean=(0.3,), std=(0.4,))
    model = models.build("lenet-12", algebra="quaternion", shape=encoded_shape(encoding), seed=0)
    path = tmp_path_factory.mktemp("artifact") / "a.safetensors"
    deploy.pack(model, path, encoding=encoding, provenance=about)
    return path


@pytest.mark.slow
def test_one_table_and_one_picture_of_all_artifacts(artifact, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    words = [str(artifact), str(artifact), "--batch", "1", "2", "--rounds", "1", "--out", str(tmp_path / "b")]
    main(["bench", "deploy", *words])
    printed = capsys.readouterr().out
    assert printed.count("top-1 % (trained)") == 1
    assert printed.count("fourfold int8") == printed.count("onnxruntime float32") == 2
    assert printed.count("(9.50)") >= 8
    with (tmp_path / "b" / "deploy.csv").open() as file:
        rows = list(csv.DictReader(file))
    digits = data.load("digits")
    program = deploy.read(artifact)
    logits = reference.run(program, reference.encode(program.encoding, digits.test_images.transpose(0, 2, 3, 1)))
    wanted = 100 * (logits.argmax(1) == digits.test_labels).mean()
    exact = [float(row["top1"]) for row in rows if row["runtime"].endswith("float32")]
    assert exact == pytest.approx([wanted] * len(exact))
    assert all(float(row["seconds_1"]) > 0 and float(row["seconds_2"]) > 0 for row in rows)
    assert (tmp_path / "b" / "deploy.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "b" / "deploy.svg").read_bytes()


@pytest.mark.slow
def test_without_a_data_set_there_is_no_accuracy_and_a_sentence(artifact, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    words = ["--batch", "1", "--rounds", "1"]
    nameless = replace(deploy.read(artifact), provenance={})
    monkeypatch.setattr("fourfold.deploy.artifact.read", lambda _: nameless)
    main(["bench", "deploy", "x.safetensors", *words, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "accuracy of x.safetensors is not measured: it does not name its data set" in printed
    assert "there is no picture without accuracies" in printed
    assert not (tmp_path / "deploy.png").exists()
    absent = replace(nameless, provenance={"dataset": "cifar-10"})
    monkeypatch.setattr("fourfold.deploy.artifact.read", lambda _: absent)
    main(["bench", "deploy", "x.safetensors", *words, "--data-dir", str(tmp_path)])
    assert "is not measured: cifar-10 is not here" in capsys.readouterr().out
