"""Images inside of a page: arrays as PNG or JPEG, and those as `data:` addresses."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

QUALITY = 80
"""Of photographs as JPEG: 6 kB for 160 × 120 pixels."""


def photograph(image: NDArray[np.uint8]) -> Markup:
    """Return an image (1 or 3, H, W) as the address of a JPEG."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    return _address(Image.fromarray(np.ascontiguousarray(pixels)), "JPEG", quality=QUALITY)


def label_map(labels: NDArray[np.uint8], colours: Sequence[str]) -> Markup:
    """Return a label map (H, W) as the address of a PNG with 256 colours of labels, such as `#0067a5`."""
    image = Image.fromarray(np.ascontiguousarray(labels))
    image.putpalette([int(colour[place : place + 2], 16) for colour in colours for place in (1, 3, 5)])
    return _address(image, "PNG", optimize=True)


def shaded(shares: NDArray[np.float64], colour: tuple[int, int, int]) -> Markup:
    """Return parts from 0 to 1 (H, W) as the address of a PNG: one colour, the more opaque the larger; NaN is empty."""
    alpha = np.nan_to_num(np.clip(shares, 0, 1)) * 255
    pixels = np.empty((*shares.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = colour, alpha.round()
    return _address(Image.fromarray(pixels), "PNG", optimize=True)


def _address(image: Image.Image, form: str, **options: object) -> Markup:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return Markup(f"data:image/{form.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}")
