"""`pack` and `read`: a trained network as one small safetensors file, documented in docs/artifact.md, and back."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.artifact.bits import DamageError
from fourfold.deploy.artifact.container import seal, unseal
from fourfold.deploy.artifact.reading import Reader
from fourfold.deploy.artifact.values import VALUES
from fourfold.deploy.artifact.writing import write
from fourfold.deploy.images import as_array
from fourfold.deploy.ir._assemble import check_program
from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.encoding import encoded_shape
from fourfold.deploy.ir.program import Encoding, Program
from fourfold.deploy.quantize import check_quantized
from fourfold.record.errors import UserError, unknown
from fourfold.record.files import write_atomically

if TYPE_CHECKING:
    from torch import nn


def pack(
    model: "nn.Module | Program",
    path: Path | str,
    *,
    values: str = "fp32",
    entropy: bool = False,
    calibrate: Any = None,
    ranges: str = "max",
    shape: Any = None,
    encoding: Encoding | None = None,
    class_names: Sequence[str] = (),
    provenance: Mapping[str, str] | None = None,
) -> Program:
    """Write a network's artifact, and return the program that is read back from it, its values rounded as stored.

    Args:
        model: A trained network, ours or torch's own; or a program, with which `shape` and what follows it are not used.
        path: The file to write; its name should end in `.safetensors`.
        values: Kept weights as `fp32`, `fp16`, `int8` (a scale for each output) or `codebook` (4 bits each).
        entropy: Code masks and small values by their frequencies too: smaller, and slower to read.
        calibrate: Images, as the network sees them (N, C, H, W) or uint8 (N, H, W, C), by which the ranges of values for
            int8 arithmetic are chosen. `provenance` then tells as `logits moved` how far rounding moved the logits of the
            first 128 of them, and a `UserWarning` does where it is by more than a quarter.
        ranges: How they are chosen: `max`, `percentile` or `mse`, see `quantize.calibrate`.
        shape: Channels, height and width of such an image; needed where neither `encoding` nor `calibrate` tells it.
        encoding: See `lower`, as the following.
        class_names: One for each output, or none.
        provenance: What is known of the network's making.

    Raises:
        UserError: the network cannot be deployed, its weights do not fit the values, something of it could not be read back,
            or the file cannot be written. An older file is then left as it was.
    """
    if values not in VALUES:
        raise unknown("values", values, VALUES)
    images = None if calibrate is None else as_array(calibrate)
    if shape is None and images is not None and images.dtype != np.uint8:
        shape = images.shape[1:]
    program = model if isinstance(model, Program) else _lowered(model, shape, encoding, class_names, provenance)
    if images is not None:
        program = _calibrated(program, images, ranges, values)
    content, packed = _sealed(program, values, entropy)
    path = Path(path)
    try:
        write_atomically(path, content, read_back=True)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from error
    return packed


def _sealed(program: Program, values: str, entropy: bool) -> tuple[bytes, Program]:
    """Return an artifact's content, and the program that is read from it: what cannot be read is never written."""
    check_program(program)
    try:
        content = seal(*write(program, values, entropy))
        packed = parse(content)
    except (TypeError, DamageError) as error:  # a program made by hand, of fields that JSON or the file does not hold
        raise UserError(f"`model` (={type(program).__name__}) cannot be packed: {error}") from error
    if len(packed.ranges) == len(packed.shapes):
        check_quantized(packed)
    return content, packed


def read(path: Path | str) -> Program:
    """Return the program of an artifact.

    Raises:
        UserError: the file is missing, damaged, too large, or of another version.
    """
    path = Path(path)
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe or a device might never end
            raise UserError(f"cannot read {path} (it is no regular file)")
        check("file", about.st_size, str(path))
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error
    try:
        return parse(content)
    except (DamageError, UserError) as error:
        raise UserError(f"{path} is no artifact that this fourfold can read: {error}") from error


def parse(content: bytes) -> Program:
    """Return the program of an artifact's content.

    Raises:
        DamageError, UserError: it is damaged, too large, or of another version.
    """
    return Reader(*unseal(content)).program()


def opened(
    network: "Program | nn.Module | str | Path",
    argument: str = "network",
    *,
    shape: Any = None,
    encoding: Encoding | None = None,
    class_names: Sequence[str] = (),
) -> Program:
    """Return the program of an artifact or of a model, or a program as it is.

    Args:
        network: An artifact's path, a program, or a network of torch.
        argument: What the caller of a function knows it as.
        shape: Of an image that a network of torch takes; see `lower`, as the following.
        encoding: How bytes become that.
        class_names: One for each output, or none.

    Raises:
        UserError: it is none of them, a file that is no artifact, or a network that cannot be deployed.
    """
    if isinstance(network, Program):
        return network
    if isinstance(network, str | os.PathLike):
        return read(network)
    if hasattr(network, "named_modules"):  # torch's; without importing torch
        return _lowered(network, shape, encoding, class_names, None)
    raise UserError(f"`{argument}` (a {type(network).__name__}) must be an artifact's path, a program or a network of torch")


def _calibrated(program: Program, images: NDArray[Any], ranges: str, values: str) -> Program:
    """Return the program with ranges, and with what its rounding does to the logits of the images."""
    from fourfold.deploy.movement import moved, warn_if_large
    from fourfold.deploy.quantize import calibrate

    _, rounded = _sealed(program, values, entropy=False)
    calibrated = calibrate(rounded, images, ranges=ranges)
    movement = moved(program, calibrated, images)
    warn_if_large(movement)
    return replace(program, ranges=calibrated.ranges, provenance=program.provenance | {"logits moved": str(movement)})


def _lowered(
    model: "nn.Module",
    shape: Any,
    encoding: Encoding | None,
    class_names: Sequence[str],
    provenance: Mapping[str, str] | None,
) -> Program:
    """Return the program of a model, with the shape that the encoding makes if none is given."""
    from fourfold.deploy.frontend.trace import lower

    if shape is None and encoding is not None:
        shape = encoded_shape(encoding)
    if shape is None:
        raise UserError("`shape` (=None) must be channels, height and width, where neither encoding nor images tell them")
    return lower(model, shape, encoding=encoding, class_names=class_names, provenance=provenance)
