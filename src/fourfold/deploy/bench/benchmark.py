"""A network's speed here beside that of other runtimes, measured in turn."""

import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy import quantize
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.bench import peers
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.ir.ops import Convolution, Linear
from fourfold.deploy.ir.program import Program
from fourfold.deploy.runtime import load
from fourfold.record.errors import UserError

LONG_ENOUGH = 5e-3
"""Seconds that calls are timed together for, so that the clock is small against them."""

CALIBRATION_IMAGES = 32

ACCURACY_BATCH = 100
"""Images of a call where accuracy is measured, not time."""

PEER = "onnxruntime float32"
"""What the others are measured against."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One runtime with one network in it."""

    run: Callable[[NDArray[Any]], Array]
    takes_bytes: bool
    """Whether it encodes images itself; others are given them as the network sees them."""
    model_bytes: int
    """Of the file that holds the network: for ours, its code too."""
    runtime_bytes: int
    """Of the libraries that it needs beside it."""
    peak_bytes: int | None
    """Memory for one image: ours is the arena, code and weights; others' is measured, their libraries not counted."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How long a batch takes."""

    contender: Contender
    seconds: float
    """Median over the rounds."""
    ratios: tuple[float, float, float]
    """Of the peer's time over this one's, measured in the same round: lower quartile, median, upper quartile."""


def contenders(
    program: Program, *, threads: int = 1, images: NDArray[np.uint8] | None = None, kernels: Sequence[str] = ()
) -> tuple[dict[str, Contender], list[str]]:
    """Return the runtimes by name, and a sentence for each that cannot take part.

    Args:
        program: The network.
        threads: Of every runtime.
        images: What the others are calibrated with, uint8 (N, H, W, C), and ours, if it has no ranges; None means noise,
            which does for speed but not for accuracy.
        kernels: Those of int8 that take part by themselves, beside the chosen ones; see `to_c`.
    """
    calibration_images = noise(program, CALIBRATION_IMAGES) if images is None else encoded(program, images)
    calibrated = program if program.ranges else quantize.calibrate(program, calibration_images)
    plain = replace(program, ranges={})
    runtimes: dict[str, Contender] = {}
    missing: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        makers: dict[str, Callable[[], Contender]] = {
            "fourfold float32": lambda: _ours(plain, threads),
            "fourfold int8": lambda: _ours(calibrated, threads),
            **{f"fourfold int8, {each}": partial(_ours, calibrated, threads, each) for each in kernels},
        }
        for library in peers.SESSIONS:
            makers |= {
                f"{library} float32": partial(_with_file, library, threads, plain, peers.dense_file, Path(folder)),
                f"{library} int8": partial(
                    _with_file, library, threads, plain, peers.int8_file, calibration_images, Path(folder)
                ),
            }
        for name, make in makers.items():
            try:
                runtimes[name] = make()
            except ImportError as error:
                missing.append(f"{name} is left out: {error.name} is not installed; `pip install 'fourfold[bench]'` brings it")
    return runtimes, missing


def encoded(program: Program, images: NDArray[np.uint8]) -> Array:
    """Return images as the network sees them.

    Raises:
        UserError: it does not know its encoding.
    """
    if program.encoding is None:
        raise UserError("`images` are bytes, but this network does not know how to encode them")
    return reference.encode(program.encoding, images).astype(np.float32)


def accuracy(runtime: Contender, program: Program, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Return in percent how many images a runtime gives their own class.

    Args:
        runtime: One with the program in it.
        program: It says how images are encoded.
        images: uint8 (N, H, W, C), at least one.
        labels: (N,).
    """
    right = 0
    for start in range(0, len(images), ACCURACY_BATCH):
        chosen = images[start : start + ACCURACY_BATCH]
        logits = runtime.run(chosen if runtime.takes_bytes else encoded(program, chosen))
        right += int((logits.argmax(1) == labels[start : start + ACCURACY_BATCH]).sum())
    return 100 * right / len(images)


def macs(program: Program) -> int:
    """Return the multiply-accumulates of kept weights for one image: a quaternion component does four a position."""
    total = 0
    for operation in program.operations:
        if isinstance(operation, Convolution | Linear):
            positions = math.prod(program.shapes[operation.output][1:])
            total += int(np.count_nonzero(operation.product.weight)) * operation.product.n * positions
    return total


def noise(program: Program, images: int) -> Array:
    """Return images of random numbers, as the network sees them."""
    return np.random.default_rng(0).standard_normal((images, *program.shapes[0])).astype(np.float32)


def measure(runtimes: Mapping[str, Contender], images: Array, *, rounds: int = 9, peer: str = PEER) -> dict[str, Measurement]:
    """Return how long a batch takes in each runtime: every round times all of them in turn.

    Raises:
        UserError: the peer is not among them.
    """
    if peer not in runtimes:
        raise UserError(f"`runtimes` (={', '.join(runtimes)}) must have {peer!r}, which the others are compared with")
    repeats = {name: _repeats(runtime, images) for name, runtime in runtimes.items()}
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for _ in range(rounds):
        for name, runtime in runtimes.items():
            times[name].append(_seconds(runtime, images, repeats[name]))
    return {
        name: Measurement(
            contender=runtime,
            seconds=statistics.median(times[name]),
            ratios=_quartiles([theirs / own for theirs, own in zip(times[peer], times[name], strict=True)]),
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


def _ours(program: Program, threads: int, kernels: str = "auto") -> Contender:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the error says it
        network = load(program, threads=threads, kernels=kernels)
    if network.notice:
        raise UserError(f"there is nothing to measure: {network.notice}")
    return Contender(
        run=network,
        takes_bytes=True,
        model_bytes=network.code_bytes,
        runtime_bytes=0,
        peak_bytes=network.arena_bytes + network.code_bytes,
    )


def _with_file(library: str, threads: int, program: Program, write: Callable[..., Path], *about: object) -> Contender:
    return _peer(library, write(program, *about), threads, program)


def _peer(library: str, path: Path, threads: int, program: Program) -> Contender:
    return Contender(
        run=peers.SESSIONS[library](path, threads),
        takes_bytes=False,
        model_bytes=path.stat().st_size,
        runtime_bytes=peers.library_bytes(library),
        peak_bytes=peers.peak_bytes(library, path, threads, program.shapes[0]),
    )
