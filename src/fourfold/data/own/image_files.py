"""One image of any format that Pillow reads, as bytes of one size. Nothing in the file is trusted."""

import logging
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fourfold.record.text import shortened

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

Resize = Literal["crop", "fit", "stretch"]
Colour = Literal["rgb", "grey"]

MOST_PIXELS = 89_478_485
"""Pixels of an image at most, as Pillow warns of from here on: a quarter of a gigabyte of colours."""

_DRAFT = 2
"""JPEGs are decoded at a fraction of their size that is still so many times as large as what is wanted."""

_REFUSED = frozenset({"EPS", "WMF", "HDF5", "GRIB", "BUFR", "MPEG"})
"""Formats that Pillow hands to other programs, or only recognises."""

_USUAL = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
"""Formats that are tried first: a fifth of the time of a small JPEG went into the others."""

_ORIENTATION = 0x0112


class BadImageError(ValueError):
    """A file that cannot be used as an image; its text says why, without the name of the file."""


class OtherSizeError(BadImageError):
    """An image of another size than is wanted, which is not to be resized."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What every image becomes."""

    size: tuple[int, int] | None
    """Height and width; None leaves each as it is."""
    resize: Resize | None
    """crop: scaled until the shorter side fits, and the middle taken; fit: scaled until the longer side fits, black beside it;
    stretch: scaled to the size, whatever the proportions. All with Pillow's bilinear filter, which averages when it shrinks.
    None refuses an image of another size, before it is decoded."""
    colour: Colour

    @property
    def channels(self) -> int:
        """3 of colours, 1 of grey."""
        return 1 if self.colour == "grey" else 3


@cache
def formats() -> tuple[str, ...]:
    """Return the names of the formats that are read."""
    from PIL import Image

    Image.init()
    known = set(Image.OPEN) - _REFUSED
    return *(name for name in _USUAL if name in known), *sorted(known - set(_USUAL))


@cache
def suffixes() -> frozenset[str]:
    """Return the endings of file names, such as `.png`, that the formats have."""
    from PIL import Image

    known = set(formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in known)


def decode(path: Path, form: Form) -> NDArray[np.uint8]:
    """Return an image as uint8 (C, H, W).

    It is turned as its EXIF says; of several frames, the first is taken; 16 bits become 8; what is transparent becomes black;
    colour profiles are ignored.

    Raises:
        BadImageError: the file cannot be read, or is too large.
        OtherSizeError: it is of another size, and the form does not say how to resize it.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadImageError("is not a file")
        with path.open("rb") as stream:
            from PIL import Image

            with Image.open(stream, formats=formats()) as image:
                return _array(_sized(_plain(_upright(image, form), form), form))
    except BadImageError:
        raise
    except OSError as error:
        raise BadImageError(f"cannot be read as an image ({_reason(error)})") from error
    except Exception as error:  # Pillow's many readers raise whatever a damaged file leads to
        raise BadImageError(f"cannot be read as an image ({_reason(error)})") from error


def upright_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image as its EXIF turns it, without decoding it.

    Raises:
        BadImageError: the file cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=formats()) as image:
            width, height = image.size
            is_sideways = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    except Exception as error:  # Pillow's many readers raise whatever a damaged file leads to
        raise BadImageError(f"cannot be read as an image ({_reason(error)})") from error
    return (height, width) if is_sideways else (width, height)


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what Pillow warns of and logs about damaged files: they are refused, counted, or decoded all the same."""
    log = logging.getLogger("PIL")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _upright(image: "Image", form: Form) -> "Image":
    """Return the first frame, decoded, as its EXIF turns it."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise BadImageError(f"is of {width}×{height} pixels, more than {MOST_PIXELS:,}")
    if form.size is not None and form.resize is None and {width, height} != set(form.size):
        raise _of_other_size((width, height), form.size)
    if form.size is not None:
        side = _DRAFT * max(form.size)
        image.draft(image.mode, (side, side))
    image.load()
    try:
        turn = _turns().get(image.getexif().get(_ORIENTATION))
    except Exception:  # damaged EXIF of an image that is whole
        turn = None
    return image if turn is None else image.transpose(turn)


@cache
def _turns() -> "Mapping[object, Transpose]":
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }


def _of_other_size(size: tuple[int, int], target: tuple[int, int]) -> OtherSizeError:
    """Return what is wrong with a size (width, height) where another (height, width) is wanted."""
    return OtherSizeError(f"is {size[0]}×{size[1]} pixels, and must be {target[1]}×{target[0]}")


def _plain(image: "Image", form: Form) -> "Image":
    """Return an image of 8 bits, grey or RGB."""
    from PIL import Image

    if image.mode == "LAB":
        image = _in_colours(image)
    if image.mode == "La":  # has one way out
        image = image.convert("LA")
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(image))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or (image.mode == "P" and "transparency" in image.info):
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        black.alpha_composite(image.convert("RGBA"))
        image = black
    return image.convert("L" if form.colour == "grey" else "RGB")


def _in_colours(image: "Image") -> "Image":
    """Return CIELAB as RGB, which Pillow converts by profiles alone."""
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    if converted is None:  # only where it is done in place
        raise BadImageError("has CIELAB colours that cannot be converted")
    return converted


def _eight_bits(image: "Image") -> NDArray[np.uint8]:
    values = np.asarray(image)
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):  # also true of NaN
            raise BadImageError("has floating-point pixels outside of 0 to 1")
        return np.round(values * 255).astype(np.uint8)
    high: NDArray[np.uint8] = (np.clip(values, 0, 2**16 - 1) // 256).astype(np.uint8)
    return high


def _sized(image: "Image", form: Form) -> "Image":
    from PIL import ImageOps
    from PIL.Image import Resampling

    if form.size is None or image.size == form.size[::-1]:
        return image
    if form.resize is None:
        raise _of_other_size(image.size, form.size)
    size = form.size[::-1]
    if form.resize == "crop":
        return ImageOps.fit(image, size, Resampling.BILINEAR)
    if form.resize == "fit":
        return ImageOps.pad(image, size, Resampling.BILINEAR)
    return image.resize(size, Resampling.BILINEAR)


def _array(image: "Image") -> NDArray[np.uint8]:
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # which says what the file is to Python
        return "it is of no format that is read"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shortened(reason.partition("\n")[0] or type(error).__name__, 200)
