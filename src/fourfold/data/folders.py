"""Tiny-ImageNet as it is published: folders of small JPEGs, a list of classes, and a table of validation images."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.data.damage import BadFileError
from fourfold.data.datasets import DataInfo
from fourfold.record.files import read_file

CLASSES = "wnids.txt"

_LARGEST_LIST = 2**26
"""Bytes of a list; that of the validation images has half a million."""

_CLASS = re.compile(r"n\d{8}")
_LINE = re.compile(r"(\w+\.JPEG)\t(n\d{8})(?:\t\d+){4}")


def read_folder(path: Path, about: DataInfo) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images uint8 (N, 3, H, W) and labels int64 (N,) that a list names.

    Classes are counted in the order of their names, as torchvision's `ImageFolder` does; training images come class by class
    in the order of theirs, validation images in the order of the table.

    Args:
        path: `wnids.txt` for the training images, which lie in `train/<class>/images/`, or `val/val_annotations.txt`.
        about: The data set.

    Raises:
        BadFileError: a list or an image is missing, damaged or of another kind.
    """
    root = path.parent if path.name == CLASSES else path.parent.parent
    classes = _classes(root / CLASSES, about)
    labels, files = [], []
    if path.name == CLASSES:
        for label, name in enumerate(classes):
            class_files = sorted((root / "train" / name / "images").glob("*.JPEG"))
            if not class_files:
                raise BadFileError(root / "train" / name / "images", "has no *.JPEG", "the images of every class are right")
            files += class_files
            labels += [label] * len(class_files)
    else:
        for number, line in enumerate(_lines(path), 1):
            match = _LINE.fullmatch(line)
            if match is None or match[2] not in classes:
                raise BadFileError(
                    path, f"has a line {number} that is not an image, its class and a box", "tabs between are right"
                )
            files.append(path.parent / "images" / match[1])
            labels.append(classes.index(match[2]))
        if not files:
            raise BadFileError(path, "lists no images", "one line for each validation image is right")
    images = np.empty((len(files), about.channels, about.size, about.size), dtype=np.uint8)
    for place, file in enumerate(files):
        images[place] = _decode(file, about.size)
    return images, np.array(labels, dtype=np.int64)


def _classes(path: Path, about: DataInfo) -> Sequence[str]:
    names = sorted(_lines(path))
    if any(_CLASS.fullmatch(name) is None for name in names) or not 1 <= len(set(names)) == len(names) <= about.num_classes:
        raise BadFileError(path, "does not list classes such as n01443537", f"{about.num_classes} different ones are right")
    return names


def _lines(path: Path) -> list[str]:
    try:
        return read_file(path, _LARGEST_LIST).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(path, f"cannot be read ({error})", "a list in ASCII is right") from error


def _decode(path: Path, size: int) -> NDArray[np.uint8]:
    """Return a JPEG as uint8 (3, H, W); grey ones become red, green and blue."""
    from PIL import Image  # comes with matplotlib; only for this data set

    try:
        if not path.is_file():
            raise BadFileError(path, "cannot be read as a JPEG (it is not a file)", "the published image is right")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a picture of another size is never decoded
            image = Image.open(path, formats=["JPEG"])
        with image:
            if image.size != (size, size):
                raise BadFileError(path, f"is {image.size[0]}×{image.size[1]} pixels", f"{size}×{size} is right")
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, BadFileError):
            raise
        raise BadFileError(path, f"cannot be read as a JPEG ({error})", "the published image is right") from error
