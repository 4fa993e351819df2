"""`fourfold predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fourfold.cli.arguments import AnyNumber
from fourfold.record import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fourfold.deploy import Encoding

MODES = {1: ("L", "1"), 3: ("RGB", "P")}
"""Modes of images, as Pillow names them, that hold so many channels; 1-bit and palette images lose nothing on the way."""


def command(
    artifact: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ARTIFACT")],
    images: Annotated[AnyNumber[Path], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE…")],
    top: int = 3,
) -> None:
    """Classify images with an exported network: a line an image, the most likely classes with their probabilities.

    Args:
        artifact: A file of `fourfold export`.
        images: PNG, JPEG and what else Pillow reads, in the size that the network was trained on; or .npy of uint8, (height,
            width, channels) or several of them.
        top: Classes to print for each.
    """
    if not images:
        raise UserError("`fourfold predict` needs an image after the artifact")
    if top < 1:
        raise UserError(f"`--top` (={top}) must be at least 1")

    from fourfold.deploy.artifact import read
    from fourfold.deploy.runtime import load

    program = read(artifact)
    if program.encoding is None:
        raise UserError(f"{artifact} does not say how images are encoded; pack it with `encoding=`, as `fourfold export` does")
    pixels = [(name, array) for image in images for name, array in _images(image, program.encoding)]
    network = load(program)
    if network.notice:
        print(network.notice)
    for name, array in pixels:
        print(f"{name}: {_ranking(network(array[None])[0], program.class_names, top)}")


def _images(path: Path, encoding: "Encoding") -> "list[tuple[str, NDArray[np.uint8]]]":
    """Return the images of a file, uint8 (height, width, channels), each with its name."""
    if path.suffix != ".npy":
        return [(str(path), _picture(path, encoding))]
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an array ({error})") from error
    channels, height, width = encoding.shape
    shape = height, width, channels
    single = array.shape in (shape, (height, width)) if channels == 1 else array.shape == shape
    if array.dtype != np.uint8 or not (single or array.shape[1:] == shape):
        raise UserError(f"{path} holds {array.dtype} of shape {array.shape}, and must hold uint8 {shape}, or several of them")
    if single:
        return [(str(path), array.reshape(shape))]
    return [(f"{path}[{number}]", image) for number, image in enumerate(array)]


def _picture(path: Path, encoding: "Encoding") -> "NDArray[np.uint8]":
    import numpy as np
    from PIL import Image

    channels, height, width = encoding.shape
    if channels not in MODES:
        raise UserError(f"{path} must be .npy: the network takes {channels} channels, which no picture has")
    modes = MODES[channels]
    try:
        with Image.open(path) as image:
            if image.size != (width, height):
                raise UserError(f"{path} is {image.size[0]}×{image.size[1]} pixels, and must be {width}×{height}")
            if image.mode not in modes:
                raise UserError(f"{path} is of mode {image.mode!r}, and must be of {' or '.join(map(repr, modes))}")
            return np.asarray(image.convert(modes[0])).reshape(height, width, channels)
    except OSError as error:
        raise UserError(f"{path} cannot be read as an image ({error.strerror or error})") from error


def _ranking(logits: "NDArray[np.float32]", class_names: tuple[str, ...], top: int) -> str:
    """Return the most likely classes with their softmax probabilities."""
    import numpy as np

    shifted = np.exp(logits - logits.max())
    shares = shifted / shifted.sum()
    best = np.argsort(-shares, kind="stable")[:top]
    return ", ".join(f"{class_names[k] if class_names else k} {100 * shares[k]:.2f} %" for k in best)
