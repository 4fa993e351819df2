"""Encodings: what they make of an image's bytes, as arrays and as sums of bytes."""

import math

import numpy as np
from numpy.typing import NDArray

from fourfold.data.encoding import GREY
from fourfold.deploy.ir.bounds import LARGEST_NUMBER, check
from fourfold.deploy.ir.operation import Array, Shape
from fourfold.deploy.ir.program import Encoding
from fourfold.record.errors import UserError, unknown

ENCODINGS = ("none", "grey", "zero", "pixels")


def encoded_terms(encoding: Encoding, shape: Shape) -> list[tuple[float, dict[int, float]]]:
    """Return for each channel that the network sees a constant, and the factor of each byte of its group of pixels.

    A group is one pixel, or for `pixels` the n neighbours that become one number.
    """
    channels = encoding.shape[0]
    scale = [1 / (255 * std) for std in encoding.std]
    shift = [-mean / std for mean, std in zip(encoding.mean, encoding.std, strict=True)]
    pixels = encoding.n if encoding.kind == "pixels" else 1
    rows = [(shift[c], {pixel * channels + c: scale[c]}) for pixel in range(pixels) for c in range(channels)]
    if encoding.kind == "grey":
        grey = {c: weight * scale[c] for c, weight in enumerate(GREY)}
        rows.append((sum(weight * shift[c] for c, weight in enumerate(GREY)), grey))
    return rows + [(0.0, {})] * (shape[0] - len(rows))


def encoded_shape(encoding: Encoding) -> tuple[int, int, int]:
    """Return channels, height and width of an encoded image.

    Raises:
        UserError: an unknown kind, or an image that it cannot encode.
    """
    channels, height, width = encoding.shape
    kind, n = encoding.kind, encoding.n
    if kind not in ENCODINGS:
        raise unknown("encoding", kind, ENCODINGS)
    if min(channels, height, width, n) < 1:
        raise UserError(f"`encoding.shape` (={encoding.shape}) and `encoding.n` (={n}) must be at least 1")
    if len(encoding.mean) != channels or len(encoding.std) != channels:
        raise UserError(f"`encoding.mean` and `encoding.std` must have a number for each of {channels} channels")
    check("encoding.n", n)
    check("value", channels * height * width, "encoding.shape")
    check_encoding(encoding)
    if kind == "none":
        return channels, height, width
    if kind == "pixels":
        if width % n:
            raise UserError(f"`encoding.shape` (={encoding.shape}) must have a width that {n} divides for encoding 'pixels'")
        return n * channels, height, width // n
    if channels != 3:
        raise UserError(f"`encoding.kind` (={kind!r}) must be given 3 channels, not {channels}")
    return -(-4 // n) * n, height, width


def check_encoding(encoding: Encoding) -> None:
    """Raise unless the numbers of an encoding make finite ones of every byte.

    Raises:
        UserError: a mean or a standard deviation is not finite, or extreme.
    """
    smallest = 1 / LARGEST_NUMBER
    means = all(math.isfinite(mean) and abs(mean) <= LARGEST_NUMBER for mean in encoding.mean)
    if not means or not all(math.isfinite(std) and smallest <= std <= LARGEST_NUMBER for std in encoding.std):
        raise UserError(
            f"`encoding.mean` (={encoding.mean!r:.60}) and `encoding.std` (={encoding.std!r:.60}) must be finite, std above 0, "
            f"and neither beyond {smallest:g} and {LARGEST_NUMBER:g} in size"
        )


def encode(encoding: Encoding, images: NDArray[np.uint8]) -> Array:
    """Return images as a network sees them: uint8 (N, H, W, C) → float32 (N, channels, height, width).

    Raises:
        UserError: images of another type or shape.
    """
    channels, height, width = encoding.shape
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels):
        raise UserError(
            f"`images` of type {images.dtype} and shape {images.shape} must be uint8 (N, {height}, {width}, {channels})"
        )
    mean, std = (np.array(numbers, np.float64)[:, None, None] for numbers in (encoding.mean, encoding.std))
    colours = (images.transpose(0, 3, 1, 2) / 255 - mean) / std
    if encoding.kind == "pixels":
        numbers = colours.reshape(len(images), channels, height, width // encoding.n, encoding.n)
        colours = numbers.transpose(0, 4, 1, 2, 3)
    encoded = np.zeros((len(images), *encoded_shape(encoding)), np.float32)
    if encoding.kind == "pixels":
        encoded[:] = colours.reshape(encoded.shape)
    else:
        encoded[:, :channels] = colours
    if encoding.kind == "grey":
        encoded[:, channels] = np.einsum("nchw,c->nhw", colours, np.array(GREY))
    return encoded
