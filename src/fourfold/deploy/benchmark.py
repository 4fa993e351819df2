"""A network's speed here beside that of other runtimes, measured in turn."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fourfold.deploy import quantize
from fourfold.deploy.onnx import INPUT, to_onnx
from fourfold.deploy.program import Array, Program
from fourfold.deploy.runtime import load
from fourfold.record.errors import UserError

LONG_ENOUGH = 5e-3
"""Seconds that calls are timed together for, so that the clock is small against them."""

CALIBRATION_IMAGES = 32

PEER = "onnxruntime float32"
"""What the others are measured against."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One runtime with one network in it."""

    run: Callable[[Array], Array]
    model_bytes: int
    """Of the file that holds the network: for ours, its code too."""
    runtime_bytes: int
    """Of the libraries that it needs beside it."""
    memory: int | None
    """Bytes that a call works in, where the runtime says."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How long a batch takes."""

    contender: Contender
    seconds: float
    """Median over the rounds."""
    ratios: tuple[float, float, float]
    """Of the peer's time over this one's, measured in the same round: lower quartile, median, upper quartile."""


def contenders(program: Program, *, threads: int = 1) -> tuple[dict[str, Contender], list[str]]:
    """Return the runtimes by name, and a sentence for each that cannot take part.

    A network without ranges is calibrated on noise, which does for its speed but not for its accuracy.
    """
    seen = noise(program, CALIBRATION_IMAGES)
    calibrated = program if program.ranges else quantize.calibrate(program, seen)
    plain = replace(program, ranges={})
    found: dict[str, Contender] = {}
    missing: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        makers: dict[str, Callable[[], Contender]] = {
            "fourfold float32": lambda: _ours(plain, threads),
            "fourfold int8": lambda: _ours(calibrated, threads),
            PEER: lambda: _onnxruntime(_dense_file(plain, Path(folder)), threads),
            "onnxruntime int8": lambda: _onnxruntime(_int8_file(plain, seen, Path(folder)), threads),
            "openvino float32": lambda: _openvino(_dense_file(plain, Path(folder)), threads),
            "openvino int8": lambda: _openvino(_int8_file(plain, seen, Path(folder)), threads),
        }
        for name, make in makers.items():
            try:
                found[name] = make()
            except ImportError as error:
                missing.append(f"{name} is left out: {error.name} is not installed; `pip install 'fourfold[deploy]'` brings it")
    return found, missing


def noise(program: Program, images: int) -> Array:
    """Return images of random numbers, as the network sees them."""
    return np.random.default_rng(0).standard_normal((images, *program.shapes[0])).astype(np.float32)


def measure(runtimes: Mapping[str, Contender], images: Array, *, rounds: int = 9) -> dict[str, Measurement]:
    """Return how long a batch takes in each runtime: every round times all of them in turn.

    Raises:
        UserError: the peer is not among them.
    """
    if PEER not in runtimes:
        raise UserError(f"`runtimes` (={', '.join(runtimes)}) must have {PEER!r}, which the others are compared with")
    repeats = {name: _repeats(runtime, images) for name, runtime in runtimes.items()}
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for _ in range(rounds):
        for name, runtime in runtimes.items():
            times[name].append(_seconds(runtime, images, repeats[name]))
    return {
        name: Measurement(
            contender=runtime,
            seconds=statistics.median(times[name]),
            ratios=_quartiles([peer / own for peer, own in zip(times[PEER], times[name], strict=True)]),
        )
        for name, runtime in runtimes.items()
    }


def _seconds(runtime: Contender, images: Array, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        runtime.run(images)
    return (time.perf_counter() - start) / repeats


def _repeats(runtime: Contender, images: Array) -> int:
    runtime.run(images)
    return max(1, round(LONG_ENOUGH / _seconds(runtime, images, 2)))


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return low, middle, high


def _ours(program: Program, threads: int) -> Contender:
    network = load(program, threads=threads)
    if network.notice:
        raise UserError(f"there is nothing to measure: {network.notice}")
    return Contender(run=network, model_bytes=network.code_bytes, runtime_bytes=0, memory=network.arena_bytes)


def _dense_file(program: Program, folder: Path) -> Path:
    path = folder / "dense.onnx"
    if not path.exists():
        to_onnx(program, path)
    return path


def _int8_file(program: Program, images: Array, folder: Path) -> Path:
    """Let onnxruntime quantise the network, an image at a time, a scale for each channel."""
    from onnxruntime import quantization

    path = folder / "int8.onnx"
    if not path.exists():
        with _quiet():
            quantization.quantize_static(
                str(_dense_file(program, folder)),
                str(path),
                _Images(images),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,  # else products of bytes overflow where the processor has no dot product of them
            )
    return path


class _Images:
    """What onnxruntime calibrates with."""

    def __init__(self, images: Array) -> None:
        self._left: Iterator[Array] = iter(images)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next image, or None behind the last."""
        image = next(self._left, None)
        return None if image is None else {INPUT: image[None]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep a library's advice, which is not ours to follow, from the terminal."""
    import logging
    import warnings

    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _onnxruntime(path: Path, threads: int) -> Contender:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return Contender(
        run=lambda images: session.run(None, {INPUT: images})[0],
        model_bytes=path.stat().st_size,
        runtime_bytes=_libraries(Path(onnxruntime.__file__).parent),
        memory=None,
    )


def _openvino(path: Path, threads: int) -> Contender:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return Contender(
        run=lambda images: request.infer([images], share_inputs=True)[0],
        model_bytes=path.stat().st_size,
        runtime_bytes=_libraries(Path(openvino.__file__).parent),
        memory=None,
    )


def _libraries(folder: Path) -> int:
    """Return the bytes of the compiled code in an installed package."""
    endings = (".so", ".dylib", ".dll", ".pyd")
    files = (Path(where) / name for where, _, names in os.walk(folder) for name in names)
    return sum(file.stat().st_size for file in files if file.name.endswith(endings) or ".so." in file.name)
