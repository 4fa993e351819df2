"""How many channels of which size a network sees. No torch in this file, so that plans can be made without it."""

from fourfold.data.datasets import DataInfo
from fourfold.record.errors import UserError
from fourfold.record.spec import DataSpec

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R 601-2, with the digits of torchvision's Grayscale)."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""The constants of full-size ImageNet, which the field also uses for other colour images."""


def input_channels(spec: DataSpec, info: DataInfo, n: int) -> tuple[int, int, int]:
    """Return (channels, height, width) of one image as the network sees it.

    For the encoding `learned` these are the channels after the trained front end, which makes them from `info.channels`.

    Args:
        spec: encoding and normalization.
        info: the data set.
        n: dimension of the algebra, 1 for real and 4 for quaternion.

    Raises:
        UserError: the encoding or the normalization does not fit the images.
    """
    if spec.normalization == "imagenet" and info.channels != 3:
        raise UserError(
            f"`data.normalization` (='imagenet') has constants for 3 channels, but {info.name} has {info.channels}; "
            "use normalization 'dataset'"
        )
    if spec.encoding == "none":
        return info.channels, info.size, info.size
    if spec.encoding == "pixels":
        if info.size % n:
            raise UserError(
                f"`data.encoding` (='pixels') needs a width that is a multiple of {n}, but {info.name} is {info.size} wide; "
                "use encoding 'none' or another algebra"
            )
        return n * info.channels, info.size, info.size // n
    if info.channels != 3:
        raise UserError(
            f"`data.encoding` (={spec.encoding!r}) adds to 3 colour channels, but {info.name} has {info.channels}; "
            "use encoding 'none' or 'pixels'"
        )
    return -(-4 // n) * n, info.size, info.size


def encoded_channels(spec: DataSpec, info: DataInfo, n: int) -> int:
    """Return the channels of the batches: those of `input_channels`, but before the front end of `learned`."""
    channels, _, _ = input_channels(spec, info, n)
    return info.channels if spec.encoding == "learned" else channels


def normalization(spec: DataSpec, info: DataInfo) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the means and standard deviations that `spec` asks for, one a channel, where 1 is white."""
    return (IMAGENET_MEAN, IMAGENET_STD) if spec.normalization == "imagenet" else (info.mean, info.std)
