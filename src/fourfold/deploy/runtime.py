"""`load`: a network that runs here, from generated C that is compiled for this processor."""

import ctypes
import functools
import math
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.artifact.file import opened
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.backends.c.emit import Generated, generate
from fourfold.deploy.backends.c.memory import ALIGNMENT
from fourfold.deploy.images import as_array, as_indices, check_images, joined, parted
from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.operation import Array, Shape
from fourfold.deploy.ir.program import Encoding, Program
from fourfold.native import NoCompilerError, compiled
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from torch import nn

NAME = "network"
"""What the generated code's names begin with; only this file sees them."""

FLOATS = np.dtype(np.float32)

_ADDRESS, _COUNT = ctypes.c_void_p, ctypes.c_int64


class Network:
    """A network ready to be called: images in, logits out.

    Calls from several threads wait for one another; the threads of `load` share the work of one call. After a fork the child
    starts threads of its own. A pickled or copied network is its program and its number of threads: it is compiled, or taken
    from the cache of compiled code, where it is unpickled.
    """

    def __init__(self, program: Program, threads: int, kernels: str = "auto") -> None:
        self.program = program
        self.threads = threads
        self.kernels = kernels
        self.notice: str | None = None
        """Why the network runs slowly, in numpy, where it could not be compiled; else None."""
        self._encoded_shape, self._output_shape = program.shapes[0], program.shapes[program.operations[-1].output]
        self._code: _Code | None = None
        try:
            self._code = _Code(
                generate(program, NAME, kernels=kernels), threads, (1, *self._encoded_shape), (1, *self._output_shape)
            )
        except NoCompilerError as error:
            self.notice = f"running in numpy, many times slower than compiled: {error}"
            _warn_once(self.notice)

    def __reduce__(self) -> tuple[Callable[[Program, int, str], "Network"], tuple[Program, int, str]]:
        return type(self), (self.program, self.threads, self.kernels)

    @property
    def code_bytes(self) -> int:
        """Bytes of the compiled file: code and weights; 0 where the network runs in numpy."""
        return Path(self._code.path).stat().st_size if self._code else 0

    @property
    def arena_bytes(self) -> int:
        """Bytes that a call on one image works in; 0 where the network runs in numpy."""
        return self._code.arena if self._code else 0

    def __call__(self, images: Any = None, *others: Any, **named: Any) -> Any:
        """Return the logits (N, *outputs), float32; of a network of several outputs a tuple, or a dict where they have names.

        Args:
            images: A numpy array or torch tensor: uint8 (N, height, width, channels), to be encoded, or floats as the network
                sees them, (N, channels, height, width). N may be 0. Indices of an embedding may be integers.
            others: The other inputs of a network of several.
            named: Inputs by their names.

        Raises:
            UserError: another type or shape, or bytes where the network does not know their encoding.
        """
        if not self.program.inputs and not self.program.outputs and not others and not named:
            return self._logits(images)
        inputs = joined(self.program.inputs, (images, *others), named) if self.program.inputs else images
        if (others or named) and not self.program.inputs:
            raise UserError(f"`inputs` (={1 + len(others) + len(named)} of them) must be one: the network has no other")
        logits = self._logits(inputs)
        return parted(self.program.outputs, logits) if self.program.outputs else logits

    def _logits(self, images: Any) -> Array:
        array = as_indices(as_array(images), self.program)
        if self._code is not None and array.dtype is FLOATS and array.shape == self._code.image_shape:
            return self._code.run_one(array)
        coded = check_images(array, self._encoded_shape, self.program.encoding)
        if self._code is None:
            return _in_numpy(self.program, array)
        array = np.ascontiguousarray(array, np.uint8 if coded else np.float32)
        logits = np.empty((len(array), *self._output_shape), np.float32)
        self._code.run(array, logits, coded)
        return logits


def load(
    network: "Program | nn.Module | str | Path",
    *,
    threads: int = 1,
    shape: Any = None,
    encoding: Encoding | None = None,
    kernels: str = "auto",
) -> Network:
    """Return a network that runs on this machine.

    Its C is compiled at the first time and kept by content; where it cannot be compiled it runs in numpy, as
    a `UserWarning` says once and `notice` always.

    Args:
        network: An artifact's path, a program or a network of torch.
        threads: They share the images of a batch, or at fewer images than threads the outputs of each layer.
        shape: Of an image that a network of torch takes: channels, height and width; see `lower`, as the encoding.
        encoding: How an image's bytes become that.
        kernels: Of int8 convolutions on AVX-512 with VNNI; see `to_c`.

    Raises:
        UserError: unknown `kernels`, a number of threads below 1 or above 1024, a file that is no artifact, or too little
            memory.
    """
    if not isinstance(threads, int) or threads < 1:
        raise UserError(f"`threads` (={threads!r}) must be at least 1")
    check("threads", threads)
    return Network(opened(network, shape=shape, encoding=encoding), threads, kernels)


@functools.cache
def _warn_once(notice: str) -> None:
    """Warn that a network runs slowly: once a process for each reason."""
    warnings.warn(notice, stacklevel=4)  # where `load` is called


def _in_numpy(program: Program, images: NDArray[Any]) -> Array:
    if program.ranges:
        return reference.run_int8(program, images)
    if program.encoding is not None and images.dtype == np.uint8:
        images = reference.encode(program.encoding, images)
    return reference.run(program, images)


class _Code:
    """The compiled functions, the memory that they work in, and their threads."""

    def __init__(self, generated: Generated, threads: int, image_shape: Shape, output_shape: Shape) -> None:
        self._functions = compiled(generated.with_harness().encode(), NAME)
        self._declare()
        self.path, self.arena = self._functions._name, generated.arena
        try:
            self._memory = np.empty(generated.arena * threads + ALIGNMENT, np.uint8)
        except MemoryError as error:
            needed = f"{generated.arena * threads:,} bytes"
            raise UserError(f"`threads` (={threads}) must be fewer: they work in {needed}, and so many are not free") from error
        self._start_address = math.ceil(self._memory.ctypes.data / ALIGNMENT) * ALIGNMENT
        self.image_shape = image_shape
        self._image, self._logits = np.empty(image_shape, np.float32), np.empty(output_shape, np.float32)
        self._threads = threads
        self._lock = threading.Lock()
        self._stop: weakref.finalize[Any, _Code] | None = None
        self._start()
        _LOADED.add(self)

    def _declare(self) -> None:
        """Tell ctypes which arguments the functions take."""
        functions = self._functions
        functions.run_images.argtypes = (_ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _COUNT)
        functions.run_shared.argtypes = (_ADDRESS, *functions.run_images.argtypes)
        functions.run_images.restype = functions.run_shared.restype = None
        functions.start_workers.argtypes, functions.start_workers.restype = (ctypes.c_int,), _ADDRESS
        functions.stop_workers.argtypes, functions.stop_workers.restype = (_ADDRESS,), None

    def _start(self) -> None:
        """Start the threads, and bind what every call gives to the functions."""
        self._run: Callable[..., None] = self._functions.run_images
        if self._threads > 1:
            started: int | None = self._functions.start_workers(self._threads)
            if started is None:
                raise UserError(f"`threads` (={self._threads}) must be fewer: the system does not start that many")
            self._stop = weakref.finalize(self, functools.partial(self._functions.stop_workers, started))
            self._run = functools.partial(self._functions.run_shared, _ADDRESS(started))
        addresses = (self._start_address, _address(self._image), None, _address(self._logits))
        # Converted once: a third of a call.
        self._run_one = functools.partial(self._run, *map(_ADDRESS, addresses), _COUNT(1))
        self._started = True

    def forget_threads(self) -> None:
        """Start anew at the next call: the child of a fork has none of its parent's threads, of which one may hold the lock."""
        self._lock = threading.Lock()
        self._started = self._threads == 1
        if self._stop is not None:
            self._stop.detach()  # there are no threads to join

    def run_one(self, image: NDArray[Any]) -> Array:
        """Return the logits of one image as the network sees it: two copies are quicker than finding out two addresses."""
        with self._lock:
            if not self._started:
                self._start()
            self._image[...] = image
            self._run_one()
            return self._logits.copy()

    def run(self, images: NDArray[Any], logits: Array, coded: bool) -> None:
        """Fill in the logits of images, or of their bytes if these are `coded`."""
        numbers, coded_bytes = (None, _address(images)) if coded else (_address(images), None)
        with self._lock:
            if not self._started:
                self._start()
            self._run(self._start_address, numbers, coded_bytes, _address(logits), len(images))


_LOADED: "weakref.WeakSet[_Code]" = weakref.WeakSet()


def _after_fork() -> None:
    for code in list(_LOADED):
        code.forget_threads()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)


def _address(array: NDArray[Any]) -> int:
    """Return where an array's numbers lie; by the first way in 1 µs, by the second, which all arrays have, in 2.5 µs."""
    if array.size and array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    return int(array.ctypes.data)
