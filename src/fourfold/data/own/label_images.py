"""Label images: a class of every pixel, as a value or as a colour. Nothing in the file is trusted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.data.own.image_files import formats
from fourfold.data.own.values import IGNORED
from fourfold.record.errors import UserError
from fourfold.record.files import open_regular
from fourfold.record.text import shortened

MOST_CLASSES = 2**15
"""Label maps are kept as int16."""

_LABELS = frozenset({"1", "L", "P", "I", "I;16", "I;16B", "I;16L"})
"""Pillow's modes whose pixels are single integers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelling:
    """What the pixels of label images stand for.

    Raises:
        UserError: colours that are none, or a value or colour that is given twice.
    """

    num_classes: int
    palette: Sequence[Any] | None
    """One colour (red, green, blue) of 0 … 255 a class; None means that pixels are labels."""
    void: tuple[Any, ...]
    """Values, or colours where there is a palette, that are no class."""

    def __post_init__(self) -> None:
        if self.palette is None:
            for value in self.void:
                if not _is_integer(value) or value < 0:
                    raise UserError(f"`void` (={value!r}) must be labels from 0, or colours where `palette` is given")
            return
        if len(self.palette) != self.num_classes:
            raise UserError(
                f"`palette` ({len(self.palette)} colours) must have one for each of {self.num_classes} of `classes`"
            )
        for what, colours in (("palette", self.palette), ("void", self.void)):
            for colour in colours:
                channels = tuple(colour) if isinstance(colour, Iterable) and not isinstance(colour, str) else ()
                if len(channels) != 3 or not all(_is_integer(channel) and 0 <= channel < 256 for channel in channels):
                    raise UserError(f"`{what}` (={colour!r}) must be colours (red, green, blue) of 0 to 255")
        codes = [_code(colour) for colour in (*self.palette, *self.void)]
        double = next((code for place, code in enumerate(codes) if code in codes[:place]), None)
        if double is not None:
            raise UserError(f"`palette` and `void` must be distinct colours, and have {_colour(double)} twice")

    def read(self, path: Path, size: tuple[int, int], target: tuple[int, int]) -> NDArray[np.int16]:
        """Return the labels (H, W) of a file, -100 where they are void.

        Args:
            path: The file.
            size: Height and width of its image, which it must have.
            wanted: Height and width to return; labels are never mixed: each is that of the nearest pixel.

        Raises:
            UserError: no label image, one of another size, or a value or colour that is unknown.
        """
        pixels = self._pixels(path, size)
        labels = self._labels(path, pixels)
        if target == size:
            return labels
        rows, columns = ((np.arange(new) * 2 + 1) * old // (2 * new) for new, old in zip(target, size, strict=True))
        return np.ascontiguousarray(labels[rows][:, columns])

    def _pixels(self, path: Path, size: tuple[int, int]) -> NDArray[np.int64]:
        """Return the values of an image of a size, or the numbers of its colours; another size is not decoded."""
        from PIL import Image

        try:
            with open_regular(path) as stream, Image.open(stream, formats=formats()) as image:
                if image.size[::-1] != size:
                    sides = _sides(image.size[::-1])
                    raise UserError(f"{path}: expected {_sides(size)} pixels as its image has, found {sides}")
                if self.palette is not None:
                    colours = np.asarray(image.convert("RGB"), dtype=np.int64)
                    return colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]
                if image.mode not in _LABELS:
                    raise UserError(
                        f"{path}: expected labels, found colours ({image.mode}); `palette` says which they stand for"
                    )
                return np.asarray(image).astype(np.int64)
        except UserError:
            raise
        except Exception as error:  # Pillow's many readers raise whatever a damaged file leads to
            reason = shortened(str(error).partition("\n")[0] or type(error).__name__, 200)
            raise UserError(f"{path}: expected a label image, found a file that cannot be read ({reason})") from error

    def _labels(self, path: Path, pixels: NDArray[np.int64]) -> NDArray[np.int16]:
        colours = self.palette
        known = range(self.num_classes) if colours is None else [_code(colour) for colour in colours]
        void = self.void if colours is None else [_code(colour) for colour in self.void]
        labels = dict(zip(known, range(self.num_classes), strict=True)) | dict.fromkeys(void, IGNORED)
        values = np.unique(pixels)
        for value in values.tolist():
            if value not in labels:
                row, column = np.argwhere(pixels == value)[0].tolist()
                where = f"at row {row}, column {column}"
                if colours is None:
                    raise UserError(
                        f"{path}: expected labels from 0 to {self.num_classes - 1} or of `void`, found {value} {where}"
                    )
                raise UserError(f"{path}: expected colours of `palette` or `void`, found {_colour(value)} {where}")
        places = np.searchsorted(values, pixels)
        return np.array([labels[value] for value in values.tolist()], np.int16)[places]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _code(colour: Any) -> int:
    red, green, blue = (int(channel) for channel in colour)
    return red << 16 | green << 8 | blue


def _colour(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255


def _sides(size: Sequence[int]) -> str:
    return f"{size[0]}×{size[1]}"
