"""Means and standard deviations of channels, computed from the training part and applied to every batch."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from fourfold.data.encoding import IMAGENET_MEAN, IMAGENET_STD
from fourfold.record.errors import UserError, unknown

Named = Literal["training", "none", "imagenet"]

Normalization: TypeAlias = Named | tuple[Sequence[float], Sequence[float]]
"""`training`: means and deviations of the training part; `none`: inputs as they are, bytes divided by 255; `imagenet`: the
constants of ImageNet; or means and deviations, one a channel, of bytes such that 1 is white."""

Constants = tuple[tuple[float, ...], tuple[float, ...]]
"""A mean and a standard deviation for each channel."""

_VALUES = 2**22
"""Values of a block whose moments are computed at once."""


def block_items(item: Tensor) -> int:
    """Return how many items of a size are read at once for moments: fixed, so that sums round the same wherever items lie."""
    return max(1, _VALUES // max(1, item.numel()))


class Moments:
    """Counts, means and squared deviations of channels, added up block by block.

    Bytes are added up as integers, exactly; floats in float64, by the formula of Chan, Golub and LeVeque (1983).

    Args:
        axis: Axis of the channels in a block.
    """

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._count = 0
        self._mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, block: Tensor) -> None:
        """Add a block of items."""
        channels = block.movedim(self._axis, 0).flatten(1).cpu()
        count = channels.shape[1]
        if block.dtype == torch.uint8:
            sums, squares = byte_sums(channels.unsqueeze(0))[0]
            self.add_sums(sums, squares, count)
            return
        values = channels.double()
        mean = values.mean(1)
        self._merge(count, mean, (values - mean.unsqueeze(1)).square().sum(1))

    def add_sums(self, sums: Tensor, squares: Tensor, count: int) -> None:
        """Add bytes of which each channel's sum and sum of squares are known, int64 (C,), and how many a channel has."""
        pairs = list(zip(sums.tolist(), squares.tolist(), strict=True))
        mean = torch.tensor([total / count for total, _ in pairs], dtype=torch.float64)
        deviations = torch.tensor([(count * square - total**2) / count for total, square in pairs], dtype=torch.float64)
        self._merge(count, mean, deviations)

    def _merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        total = self._count + count
        shift = mean - self._mean
        self._mean = self._mean + shift * (count / total)
        self._squares = self._squares + squares + shift.square() * (self._count * count / total)
        self._count = total

    def result(self, white: float = 1.0) -> Constants:
        """Return the mean and deviation of each channel, where `white` counts as 1; one that never changes has deviation 1."""
        deviation = (self._squares / self._count).sqrt() / white
        deviation[~(deviation > 0)] = 1.0
        return tuple((self._mean / white).tolist()), tuple(deviation.tolist())


def byte_sums(channels: Tensor) -> Tensor:
    """Return the sums and sums of squares of bytes uint8 (N, C, values): int64 (N, 2, C)."""
    values = channels.numpy()  # numpy adds up bytes as int64 in a tenth of torch's time
    squares = np.einsum("ncv,ncv->nc", values, values, dtype=np.int64)
    return torch.from_numpy(np.stack([values.sum(2, dtype=np.int64), squares], axis=1))


def moments_of(blocks: Iterable[Tensor], axis: int, white: float) -> Constants:
    """Return means and deviations of the channels of blocks of items, where `white` counts as 1."""
    moments = Moments(axis)
    for block in blocks:
        moments.add(block)
    return moments.result(white)


def fixed_constants(normalization: Normalization, channels: int) -> Constants | None:
    """Return the constants that a normalization names; None for those of the training part.

    Raises:
        UserError: an unknown name, or constants that do not fit so many channels.
    """
    if isinstance(normalization, str):
        if normalization not in get_args(Named):
            raise unknown("`normalization`", normalization, get_args(Named), "or means and deviations")
        if normalization == "training":
            return None
        if normalization == "none":
            return (0.0,) * channels, (1.0,) * channels
        if channels != len(IMAGENET_MEAN):
            raise UserError(
                f"`normalization` (='imagenet') has constants for 3 channels, but inputs have {channels}; use 'training'"
            )
        return IMAGENET_MEAN, IMAGENET_STD
    try:
        mean, std = (tuple(map(float, numbers)) for numbers in normalization)
    except (TypeError, ValueError) as error:
        raise UserError("`normalization` must be a name, or two lists: means and deviations of the channels") from error
    if not len(mean) == len(std) == channels or not all(0 < s < float("inf") for s in std):
        raise UserError(
            f"`normalization` (of {len(mean)} means and {len(std)} deviations) must have a mean and a positive deviation for "
            f"each of {channels} channels"
        )
    return mean, std


class Normalizer:
    """Turns inputs into float32 of mean 0 and deviation 1: bytes as `Resident` does, bit for bit.

    Args:
        constants: Means and deviations of the channels, of bytes such that 1 is white.
        axis: Axis of the channels in a batch.
    """

    def __init__(self, constants: Constants, axis: int) -> None:
        self._mean, self._std = constants
        self._axis = axis
        self._factors: dict[tuple[torch.device, torch.dtype, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return inputs in a new tensor of the same shape."""
        key = inputs.device, inputs.dtype, inputs.dim()
        if key not in self._factors:
            self._factors[key] = self._factors_of(inputs)
        first, second = self._factors[key]
        if inputs.dtype == torch.uint8:
            return inputs.float().mul_(first).add_(second)
        # The mean first: a feature such as a year loses its last digits where a large product and a large sum cancel.
        return inputs.float().sub(first).mul_(second)

    def _factors_of(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        shape = [-1 if axis == self._axis else 1 for axis in range(inputs.dim())]
        if inputs.dtype == torch.uint8:
            first = [1 / (255 * s) for s in self._std]
            second = [-m / s for m, s in zip(self._mean, self._std, strict=True)]
        else:
            first, second = list(self._mean), [1 / s for s in self._std]
        both = torch.tensor([first, second], dtype=torch.float64).to(inputs.device, torch.float32)
        return both[0].view(shape), both[1].view(shape)
