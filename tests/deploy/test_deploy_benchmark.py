"""Benchmarks: every runtime computes the same network, the peers are optional, and the table says what was measured."""

import sys

import numpy as np
import pytest
from random_programs import random_program

from fourfold.cli import main
from fourfold.deploy import benchmark, reference
from fourfold.deploy.program import Program
from fourfold.native import NoCompilerError, compiler
from fourfold.record import UserError

try:
    compiler()
except NoCompilerError as reason:
    pytest.skip(str(reason), allow_module_level=True)


@pytest.fixture(scope="module")
def program() -> Program:
    return random_program(1)


def test_all_runtimes_compute_the_same_network(program):
    pytest.importorskip("onnxruntime")
    runtimes, _ = benchmark.contenders(program)
    images = benchmark.noise(program, 3)
    wanted = reference.run(program, images)
    for name, runtime in runtimes.items():
        outputs = runtime.run(images)
        tolerance = 1e-4 if "float32" in name else 0.1
        assert np.abs(outputs - wanted).max() <= tolerance * np.abs(wanted).max(), name
        assert runtime.model_bytes > 0


def test_a_runtime_that_is_not_installed_is_left_out_with_a_sentence(program, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "openvino", None)
    runtimes, missing = benchmark.contenders(program)
    assert [name for name in runtimes if "openvino" in name] == []
    assert missing == [
        f"openvino {values} is left out: openvino is not installed; `pip install 'fourfold[deploy]'` brings it"
        for values in ("float32", "int8")
    ]


def test_ratios_are_of_the_peer_in_the_same_round():
    images = np.zeros((1, 1), np.float32)
    calls: list[str] = []

    def contender(name: str, work: int) -> benchmark.Contender:
        def run(_: np.ndarray) -> np.ndarray:
            calls.append(name)
            return np.ones(work) + 1

        return benchmark.Contender(run=run, model_bytes=1, runtime_bytes=0, memory=None)

    measured = benchmark.measure(
        {"small": contender("small", 10), benchmark.PEER: contender("peer", 3_000_000)}, images, rounds=3
    )
    assert measured[benchmark.PEER].ratios == (1, 1, 1)
    assert measured["small"].ratios[1] > 10
    assert measured["small"].seconds < measured[benchmark.PEER].seconds
    timed = calls[-4:]
    assert set(timed) == {"small", "peer"}  # in turn, not one after all of the other
    with pytest.raises(UserError, match="`runtimes` \\(=small\\) must have 'onnxruntime float32'"):
        benchmark.measure({"small": contender("small", 10)}, images)


def test_mistakes_of_the_command(capsys):
    for words, sentence in (
        ([], "`artifacts` (=none)"),
        (["no-such-file.safetensors"], "no-such-file"),
        (["a", "--threads", "0"], "`threads` (=0)"),
    ):
        with pytest.raises(SystemExit) as ending:
            main(["bench", "deploy", *words])
        assert ending.value.code == 2
        assert sentence in capsys.readouterr().err


def test_the_command_prints_a_row_a_runtime(program, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("fourfold.deploy.artifact.read", lambda _: program)
    main(["bench", "deploy", str(tmp_path / "a.safetensors"), "--batch", "1", "2", "--rounds", "1"])
    printed = capsys.readouterr().out
    assert "1 image a call" in printed
    assert "2 images a call" in printed
    assert printed.count("fourfold int8") == printed.count("onnxruntime float32") >= 2
