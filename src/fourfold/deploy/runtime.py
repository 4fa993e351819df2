"""`load`: a network that runs here, from generated C that is compiled for this processor."""

import ctypes
import functools
import math
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy import reference, whole_reference
from fourfold.deploy.c.layout import ALIGNMENT
from fourfold.deploy.c.source import Generated, generate, opened
from fourfold.deploy.images import as_array, check_images
from fourfold.deploy.program import Array, Program, Shape
from fourfold.native import NoCompilerError, compiled
from fourfold.record.errors import UserError

NAME = "network"
"""What the generated code's names begin with; only this file sees them."""

FLOATS = np.dtype(np.float32)

_ADDRESS, _COUNT = ctypes.c_void_p, ctypes.c_int64


class Network:
    """A network ready to be called: images in, logits out.

    Calls from several threads wait for one another; the threads of `load` share the work of one call.
    """

    def __init__(self, program: Program, threads: int) -> None:
        self.program = program
        self.threads = threads
        self.notice: str | None = None
        """Why the network runs slowly, in numpy, where it could not be compiled; else None."""
        self._lock = threading.Lock()
        self._encoded_shape, self._output_shape = program.shapes[0], program.shapes[program.operations[-1].output]
        self._code: _Code | None = None
        try:
            self._code = _Code(generate(program, NAME), threads, (1, *self._encoded_shape), (1, *self._output_shape))
        except NoCompilerError as error:
            self.notice = f"running in numpy, many times slower than compiled: {error}"

    @property
    def code_bytes(self) -> int:
        """Bytes of the compiled file: code and weights; 0 where the network runs in numpy."""
        return Path(self._code.path).stat().st_size if self._code else 0

    @property
    def arena_bytes(self) -> int:
        """Bytes that a call on one image works in; 0 where the network runs in numpy."""
        return self._code.arena if self._code else 0

    def __call__(self, images: Any) -> Array:
        """Return the logits (N, *outputs), float32.

        Args:
            images: A numpy array or torch tensor: uint8 (N, height, width, channels), to be encoded, or floats as the network
                sees them, (N, channels, height, width). N may be 0.

        Raises:
            UserError: another type or shape, or bytes where the network does not know their encoding.
        """
        array = as_array(images)
        if self._code is not None and array.dtype is FLOATS and array.shape == self._code.image_shape:
            with self._lock:
                return self._code.run_one(array)
        coded = check_images(array, self._encoded_shape, self.program.encoding)
        if self._code is None:
            return _in_numpy(self.program, array)
        array = np.ascontiguousarray(array, np.uint8 if coded else np.float32)
        logits = np.empty((len(array), *self._output_shape), np.float32)
        with self._lock:
            self._code.run(array, logits, coded)
        return logits


def load(network: Program | str | Path, *, threads: int = 1) -> Network:
    """Return a network that runs on this machine.

    Its C is compiled at the first time and kept by content; without a compiler it runs in numpy, and `notice` says so.

    Args:
        network: An artifact's path, or a program.
        threads: They share the images of a batch, or at fewer images than threads the outputs of each layer.

    Raises:
        UserError: a number of threads below 1, or a file that is no artifact.
    """
    if threads < 1:
        raise UserError(f"`threads` (={threads}) must be at least 1")
    return Network(opened(network), threads)


def _in_numpy(program: Program, images: NDArray[Any]) -> Array:
    if program.ranges:
        return whole_reference.run(program, images)
    if program.encoding is not None and images.dtype == np.uint8:
        images = reference.encode(program.encoding, images)
    return reference.run(program, images)


class _Code:
    """The compiled functions, the memory that they work in, and their threads."""

    def __init__(self, generated: Generated, threads: int, image_shape: Shape, output_shape: Shape) -> None:
        self._functions = compiled(generated.with_harness().encode(), NAME)
        self._images, self._shared = self._functions.run_images, self._functions.run_shared
        self._images.argtypes = (_ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _COUNT)
        self._shared.argtypes = (_ADDRESS, *self._images.argtypes)
        self._images.restype = self._shared.restype = None
        self.path, self.arena = self._functions._name, generated.arena
        self._memory = np.empty(generated.arena * threads + ALIGNMENT, np.uint8)
        self._start_address = math.ceil(self._memory.ctypes.data / ALIGNMENT) * ALIGNMENT
        self._workers = self._started(threads) if threads > 1 else None
        self.image_shape = image_shape
        self._image, self._logits = np.empty(image_shape, np.float32), np.empty(output_shape, np.float32)
        run, *workers = (self._images,) if self._workers is None else (self._shared, self._workers)
        addresses = (*workers, self._start_address, _address(self._image), None, _address(self._logits))
        self._run_one = functools.partial(run, *map(_ADDRESS, addresses), _COUNT(1))  # converted once: a third of a call

    def _started(self, threads: int) -> int | None:
        start, stop = self._functions.start_workers, self._functions.stop_workers
        start.argtypes, start.restype = (ctypes.c_int,), _ADDRESS
        stop.argtypes, stop.restype = (_ADDRESS,), None
        workers: int | None = start(threads)
        if workers is None:
            raise UserError(f"`threads` (={threads}) must be fewer: the system does not start that many")
        weakref.finalize(self, functools.partial(stop, workers))
        return workers

    def run_one(self, image: NDArray[Any]) -> Array:
        """Return the logits of one image as the network sees it: two copies are quicker than finding out two addresses."""
        self._image[...] = image
        self._run_one()
        return self._logits.copy()

    def run(self, images: NDArray[Any], logits: Array, coded: bool) -> None:
        numbers, coded_bytes = (None, _address(images)) if coded else (_address(images), None)
        if self._workers is None:
            self._images(self._start_address, numbers, coded_bytes, _address(logits), len(images))
        else:
            self._shared(self._workers, self._start_address, numbers, coded_bytes, _address(logits), len(images))


def _address(array: NDArray[Any]) -> int:
    """Return where an array's numbers lie; by the first way in 1 µs, by the second, which all arrays have, in 2.5 µs."""
    if array.size and array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    return int(array.ctypes.data)
