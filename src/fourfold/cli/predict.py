"""`fourfold predict`."""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import tyro

from fourfold.cli.arguments import AnyNumber, Maybe
from fourfold.cli.streams import say
from fourfold.record import UserError
from fourfold.record.errors import unknown
from fourfold.record.files import open_regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fourfold.data.own.image_files import Colour, Resize
    from fourfold.deploy import Encoding

COLOURS: "dict[int, Colour]" = {1: "grey", 3: "rgb"}
"""What pictures become, by the channels that a network takes."""


def command(
    artifact: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ARTIFACT")],
    images: Annotated[AnyNumber[Path], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE…")],
    top: int = 3,
    resize: Maybe[str] = None,
) -> None:
    """Classify images with an exported network: a line an image, the most likely classes with their probabilities.

    Images of any mode become what the network was trained on, grey or RGB of 8 bits: they are turned as their EXIF says, of
    several frames the first is taken, and what is transparent becomes black.

    Args:
        artifact: A file of `fourfold export`.
        images: PNG, JPEG and what else Pillow reads; or .npy, or .npz with arrays, of uint8, (height, width, channels) or
            several of them.
        top: Classes to print for each.
        resize: What becomes of images of another size than the network was trained on: crop scales them and takes the middle,
            fit scales them as a whole and puts black beside them. Without it they are refused.
    """
    if not images:
        raise UserError("`IMAGE` must be given: at least one image after the artifact")
    if top < 1:
        raise UserError(f"`--top` (={top}) must be at least 1")

    from fourfold.data.own.image_files import Resize
    from fourfold.deploy.artifact import read
    from fourfold.deploy.runtime import load

    if resize is not None and resize not in get_args(Resize):
        raise unknown("resize", resize, get_args(Resize))
    program = read(artifact)
    if program.encoding is None:
        raise UserError(
            f"{artifact}: expected an encoding of images, found none; pack it with `encoding=`, as `fourfold export` does"
        )
    outputs = program.shapes[program.operations[-1].output]
    if program.inputs or program.outputs or len(outputs) != 1:
        raise UserError(f"{artifact}: expected a network that gives a number per class, found outputs of shape {outputs}")
    method = cast("Resize | None", resize)
    pixels = [named for image in images for named in _images(image, program.encoding, method)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notice says it in a line
        network = load(program)
    if network.notice:
        say(network.notice, sys.stderr)
    for name, array in pixels:
        say(f"{name}: {_ranking(network(array[None])[0], program.class_names, top)}")


def _images(path: Path, encoding: "Encoding", resize: "Resize | None" = None) -> "list[tuple[str, NDArray[np.uint8]]]":
    """Return the images of a file, uint8 (height, width, channels), each with its name."""
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz"):
        return [(str(path), _picture(path, encoding, resize))]
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: expected a file, found something else")
    if suffix == ".npy":
        array = _array(path)
        if (images := _of_array(str(path), array, encoding)) is None:
            held = f"{array.dtype} of shape {array.shape}"
            raise UserError(f"{path}: expected uint8 {_image_shape(encoding)}, or several of them, found {held}")
        return images
    from fourfold.data.own.npz import read_arrays

    arrays = read_arrays(path)
    named = [image for name, array in arrays.items() for image in _of_array(f"{path}[{name}]", array, encoding) or ()]
    if not named:
        held = ", ".join(f"{name} ({array.dtype} of shape {array.shape})" for name, array in arrays.items()) or "no arrays"
        raise UserError(f"{path}: expected an array of uint8 {_image_shape(encoding)}, or of several of them, found {held}")
    return named


def _image_shape(encoding: "Encoding") -> tuple[int, int, int]:
    """Return the shape of an image as arrays have it: height, width, channels."""
    channels, height, width = encoding.shape
    return height, width, channels


def _of_array(name: str, array: "NDArray[Any]", encoding: "Encoding") -> "list[tuple[str, NDArray[np.uint8]]] | None":
    """Return the images of an array, each with its name; None where the array is of another type or shape.

    Channels may be the last axis, or the first as in torch; of grey images they may be left out.
    """
    import numpy as np

    channels, height, width = encoding.shape
    layouts = [(height, width, channels), (channels, height, width), *([(height, width)] if channels == 1 else ())]
    shapes = [shape for shape in layouts if shape in (array.shape, array.shape[1:])]
    if array.dtype != np.uint8 or not shapes:
        return None
    if array.shape in layouts:
        names, array = [name], array[None]
    else:
        names = [f"{name}[{number}]" for number in range(len(array))]
    if shapes[0] == (channels, height, width) != _image_shape(encoding):
        array = np.moveaxis(array, 1, -1)
    return list(zip(names, array.reshape(-1, *_image_shape(encoding)), strict=True))


def _array(path: Path) -> "NDArray[Any]":
    """Return the array of a file, of which no more is read than is used: its header may promise any size."""
    import numpy as np

    try:
        with open_regular(path) as stream:
            if stream.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise ValueError("it does not begin as a .npy file")
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except Exception as error:  # numpy evaluates the header as Python, which raises whatever a damaged one leads to
        raise UserError(f"{path} cannot be read as an array ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """Return what an error of a library says, in one line."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return message.partition("\n")[0] or type(error).__name__


def _picture(path: Path, encoding: "Encoding", resize: "Resize | None") -> "NDArray[np.uint8]":
    from fourfold.data.own.image_files import BadImageError, Form, OtherSizeError, decode, quiet

    channels, height, width = encoding.shape
    if channels not in COLOURS:
        raise UserError(f"{path} must be .npy or .npz: the network takes {channels} channels, which no picture has")
    if path.is_dir():
        raise UserError(f"{path}: expected a file, found a folder; name the images in it, such as {path}/*.png")
    try:
        with quiet():
            planes = decode(path, Form(size=(height, width), resize=resize, colour=COLOURS[channels]))
    except OtherSizeError as error:
        message = f"{path} {error}; --resize crop, fit or stretch makes it so"
        raise UserError(message) from error
    except BadImageError as error:
        message = f"{path} {error}"  # such as `cannot be read as an image (…)`
        raise UserError(message) from error
    return planes.transpose(1, 2, 0)


def _ranking(logits: "NDArray[np.float32]", class_names: tuple[str, ...], top: int) -> str:
    """Return the most likely classes with their softmax probabilities."""
    import numpy as np

    shifted = np.exp(logits - logits.max())
    shares = shifted / shifted.sum()
    best = np.argsort(-shares, kind="stable")[:top]
    return ", ".join(f"{class_names[k] if class_names else k} {100 * shares[k]:.2f} %" for k in best)
