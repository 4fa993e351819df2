"""Images as callers have them, as numpy arrays. No torch in this file: tensors are known by what they can do."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.operation import Array, Shape
from fourfold.deploy.ir.ops import Embedding
from fourfold.deploy.ir.program import Encoding, Port, Program
from fourfold.record.errors import UserError


def as_array(images: Any) -> NDArray[Any]:
    """Return images as a numpy array, without a copy where possible.

    Args:
        images: An array, a torch tensor (on any device, with or without gradients, of any floating type), or nested lists.

    Raises:
        UserError: nothing that numpy can read as one array.
    """
    if isinstance(images, np.ndarray):
        return images
    try:
        if hasattr(images, "detach"):
            tensor = images.detach().cpu().resolve_neg()
            return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)
        return np.asarray(images)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors without data
        reason = str(error).partition("\n")[0]
        raise UserError(f"`images` (a {type(images).__name__}) must be an array of numbers: {reason}") from error


def check_images(images: NDArray[Any], shape: Shape, encoding: Encoding | None) -> bool:
    """Check images against what a network takes, and return whether they are bytes that its encoding must read.

    Args:
        images: uint8 (N, height, width, channels), or floats (N, *shape).
        shape: Of one image as the network sees it.
        encoding: The network's, or None.

    Raises:
        UserError: another type or shape, or bytes where the network does not know their encoding.
    """
    coded = images.dtype == np.uint8
    if coded and encoding is None:
        raise UserError("`images` are bytes, but this network does not know how to encode them; give it floats")
    channels, *size = encoding.shape if encoding else (0, 0, 0)
    image_shape = (*size, channels)
    if images.shape[1:] != (image_shape if coded else shape) or not images.ndim:
        bytes_wanted = f"uint8 (N, {', '.join(map(str, image_shape))})"
        floats_wanted = f"floats (N, {', '.join(map(str, shape))})"
        choices = f"{bytes_wanted} or {floats_wanted}" if encoding else floats_wanted
        raise UserError(f"`images` of type {images.dtype} and shape {images.shape} must be {choices}")
    if not coded and images.dtype.kind != "f":
        raise UserError(f"`images` (of type {images.dtype}) must be uint8 or floats")
    return bool(coded)


def as_indices(images: NDArray[Any], program: Program) -> NDArray[Any]:
    """Return integers as floats where the network looks them up in a table."""
    if images.dtype.kind not in "iu" or not any(isinstance(each, Embedding) for each in program.operations):
        return images
    return images.astype(np.float32)


def joined(ports: Sequence[Port], positional: Sequence[Any], named: Mapping[str, Any]) -> NDArray[Any]:
    """Return the inputs of a network of several as its value 0: one after the other, flat.

    Raises:
        UserError: others than it has, or of other shapes.
    """
    arrays = [as_array(each) for each in positional if each is not None]
    names = [port.name for port in ports]
    if set(named) - set(names[len(arrays) :]) or len(arrays) + len(named) != len(ports):
        raise UserError(f"`inputs` (={len(arrays) + len(named)} of them) must be {', '.join(names)}")
    arrays += [as_array(named[name]) for name in names[len(arrays) :]]
    for port, array in zip(ports, arrays, strict=True):
        if array.shape[1:] != port.shape or len(array) != len(arrays[0]):
            expected = f"({len(arrays[0])}, {', '.join(map(str, port.shape))})"
            raise UserError(f"`{port.name}` of shape {array.shape} must be {expected}")
    return np.concatenate([array.reshape(len(array), -1).astype(np.float32) for array in arrays], axis=1)


def parted(ports: Sequence[Port], logits: Array) -> tuple[Array, ...] | dict[str, Array]:
    """Return the outputs of a network of several: by name, or a tuple where its forward gave them no names."""
    ends = np.cumsum([math.prod(port.shape) for port in ports])[:-1]
    parts = [part.reshape(len(logits), *port.shape) for port, part in zip(ports, np.split(logits, ends, axis=1), strict=True)]
    if [port.name for port in ports] == [f"output{number}" for number in range(len(ports))]:
        return tuple(parts)
    return {port.name: part for port, part in zip(ports, parts, strict=True)}
