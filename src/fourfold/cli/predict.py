"""`fourfold predict`."""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fourfold.cli.arguments import AnyNumber
from fourfold.cli.streams import say
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notice says it in a line
        network = load(program)
    if network.notice:
        say(network.notice, sys.stderr)
    for name, array in pixels:
        say(f"{name}: {_ranking(network(array[None])[0], program.class_names, top)}")


def _images(path: Path, encoding: "Encoding") -> "list[tuple[str, NDArray[np.uint8]]]":
    """Return the images of a file, uint8 (height, width, channels), each with its name."""
    if path.suffix != ".npy":
        return [(str(path), _picture(path, encoding))]
    import numpy as np

    array = _array(path)
    channels, height, width = encoding.shape
    shape = height, width, channels
    single = array.shape in (shape, (height, width)) if channels == 1 else array.shape == shape
    if array.dtype != np.uint8 or not (single or array.shape[1:] == shape):
        raise UserError(f"{path} holds {array.dtype} of shape {array.shape}, and must hold uint8 {shape}, or several of them")
    if single:
        return [(str(path), array.reshape(shape))]
    return [(f"{path}[{number}]", image) for number, image in enumerate(array)]


def _array(path: Path) -> "NDArray[Any]":
    """Return the array of a file, of which no more is read than is used: its header may promise any size."""
    import numpy as np

    try:
        with path.open("rb") as stream:
            if stream.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise ValueError("it does not begin as a .npy file")
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except Exception as error:  # numpy evaluates the header as Python, which raises whatever a damaged one leads to
        raise UserError(f"{path} cannot be read as an array ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """Return what an error of a library says, in one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said.partition("\n")[0] or type(error).__name__


def _picture(path: Path, encoding: "Encoding") -> "NDArray[np.uint8]":
    import numpy as np
    from PIL import Image

    channels, height, width = encoding.shape
    if channels not in MODES:
        raise UserError(f"{path} must be .npy: the network takes {channels} channels, which no picture has")
    modes = MODES[channels]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a picture of another size is never decoded
            image = Image.open(path)
    except Exception as error:  # Pillow's many readers raise whatever a damaged file leads to
        raise UserError(f"{path} cannot be read as an image ({_reason(error)})") from error
    with image:
        if image.size != (width, height):
            raise UserError(f"{path} is {image.size[0]}×{image.size[1]} pixels, and must be {width}×{height}")
        if image.mode not in modes:
            raise UserError(f"{path} is of mode {image.mode!r}, and must be of {' or '.join(map(repr, modes))}")
        try:
            return np.asarray(image.convert(modes[0])).reshape(height, width, channels)
        except Exception as error:
            raise UserError(f"{path} cannot be read as an image ({_reason(error)})") from error


def _ranking(logits: "NDArray[np.float32]", class_names: tuple[str, ...], top: int) -> str:
    """Return the most likely classes with their softmax probabilities."""
    import numpy as np

    shifted = np.exp(logits - logits.max())
    shares = shifted / shifted.sum()
    best = np.argsort(-shares, kind="stable")[:top]
    return ", ".join(f"{class_names[k] if class_names else k} {100 * shares[k]:.2f} %" for k in best)
