"""The runtimes that ours is measured beside: their files, their sessions, and the memory that they take.

    python -m fourfold.deploy.bench.peers LIBRARY FILE THREADS SIZE…

runs a network of theirs once in a process of its own and prints how many bytes its peak grew by, the libraries not counted.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fourfold.deploy.backends.onnx import to_onnx
from fourfold.deploy.backends.onnx_graph import INPUT
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.ir.program import Program

Run = Callable[[Array], Array]

STATUS = Path("/proc/self/status")
"""Where Linux tells a process its peak of memory; the peak that `getrusage` gives includes that of the parent process."""


def dense_file(program: Program, folder: Path) -> Path:
    """Write a network as ONNX, every weight stored, if it is not there yet, and return its path."""
    path = folder / "dense.onnx"
    if not path.exists():
        to_onnx(program, path)
    return path


def int8_file(program: Program, images: Array, folder: Path) -> Path:
    """Let onnxruntime quantise a network by some images, with a scale for each channel, and return the file's path."""
    from onnxruntime import quantization

    path = folder / "int8.onnx"
    if not path.exists():
        with _quiet():
            quantization.quantize_static(
                str(dense_file(program, folder)),
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


def _onnxruntime(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {INPUT: images})[0]


def _openvino(path: Path, threads: int) -> Run:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return lambda images: request.infer([images], share_inputs=True)[0]


SESSIONS: dict[str, Callable[[Path, int], Run]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
"""By the name of the library, which is imported only here: what runs an ONNX file with so many threads."""


def library_bytes(library: str) -> int:
    """Return the bytes of the compiled code in an installed package."""
    import importlib

    folder = Path(str(importlib.import_module(library).__file__)).parent
    endings = (".so", ".dylib", ".dll", ".pyd")
    files = (Path(where) / name for where, _, names in os.walk(folder) for name in names)
    return sum(file.stat().st_size for file in files if file.name.endswith(endings) or ".so." in file.name)


def peak_bytes(library: str, path: Path, threads: int, shape: tuple[int, ...]) -> int | None:
    """Return the memory that loading and running a network takes beyond importing the library; None where unknown.

    Measured in a process of its own, as the growth of its peak from the import to the end of a run of one image.
    """
    if not STATUS.exists():
        return None
    command = [sys.executable, "-P", "-m", "fourfold.deploy.bench.peers", library, str(path), str(threads), *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def main(library: str, path: str, threads: str, *shape: str) -> None:
    """Print the growth of this process's peak of memory, in bytes."""
    import importlib

    importlib.import_module(library)
    image = np.zeros((1, *map(int, shape)), np.float32)
    before = _peak()
    SESSIONS[library](Path(path), int(threads))(image)
    print(_peak() - before)


def _peak() -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
