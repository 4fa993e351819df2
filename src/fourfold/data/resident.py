"""Images that live on the device, and their batches: shuffled, cropped, flipped, normalised and encoded in a few passes.

One network step on MNIST takes a few hundred microseconds on one core, so a data loader with workers and one call per
image would cost more than the training. Here a batch is one gather from uint8 images and two passes over its floats.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fourfold.data.encoding import GREY
from fourfold.record.spec import DataSpec


class Resident:
    """Images and labels of one split on one device, with the transforms of a `DataSpec`.

    Args:
        images: uint8 (M, C, H, W) on the device, as `lay_out` returns them; other splits may hold the same tensor.
        labels: int64 (N,) on the same device.
        members: int64 (N,), which of the images belong to this split, in the order of the labels; None means all.
        spec: encoding, crop and flip.
        mean: mean of each channel, where 1 is white.
        std: standard deviation of each channel, where 1 is white.
        n: dimension of the algebra.
        channels: channels of the batches.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        members: Tensor | None,
        *,
        spec: DataSpec,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        n: int,
        channels: int,
    ) -> None:
        self._layout = torch.contiguous_format
        self._images = images
        self._labels = labels
        self._members = members
        self._spec = spec
        self._n = n
        self._channels = channels
        # (x / 255 - mean) / std as one product and one sum. A single channel takes numbers without axes, which torch
        # applies twice as fast as tensors that it has to broadcast.
        shape = () if len(mean) == 1 else (-1, 1, 1)
        repeats = n if spec.encoding == "pixels" and len(mean) > 1 else 1
        scale = torch.tensor([1 / (255 * s) for s in std] * repeats, dtype=torch.float64)
        offset = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)] * repeats, dtype=torch.float64)
        self._scale = scale.view(shape).to(images.device, torch.float32)
        self._offset = offset.view(shape).to(images.device, torch.float32)

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def device(self) -> torch.device:
        """Where the images and the batches are."""
        return self._images.device

    @property
    def memory_format(self) -> str:
        """Memory format of the batches: `contiguous` or `channels_last`."""
        return "contiguous" if self._layout is torch.contiguous_format else "channels_last"

    @property
    def in_memory(self) -> bool:
        """Whether the images lie on the device, so that a step can fetch them itself."""
        return True

    @property
    def labels(self) -> Tensor:
        """Labels int64 (N,) in the order of `batches`."""
        return self._labels

    def laid_out(self, layout: torch.memory_format) -> "Resident":
        """Return the same images with batches in another memory format."""
        other = copy.copy(self)
        other._layout = layout
        return other

    def pixels(self) -> "Pixels | None":
        """Return what batches are made of where each is nothing but scaled pixels; None if they are changed or added to."""
        if not self.in_memory or augments(self._spec) or self._channels != self._images.shape[1]:
            return None
        shape = self._images.shape[1:]
        scale, offset = (factor.expand(shape).flatten().contiguous() for factor in (self._scale, self._offset))
        return Pixels(bytes=self._images.flatten(1).contiguous(), scale=scale, offset=offset)

    def epoch(
        self,
        batch_size: int,
        seed: int,
        augment: bool = True,
        share: Callable[[range], slice] | None = None,
        first: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once, shuffled: images float32 (B, C, H, W) and labels int64 (B,).

        The order and the augmentation are two streams drawn from `seed` on the device. Neither depends on the encoding
        or the algebra, so a quaternion network and its real twin see the same images. The last batch may be smaller.

        Args:
            batch_size: images a batch.
            seed: decides order and augmentation.
            augment: whether the spec's crop and flip are applied.
            share: which of a batch's places have their images yielded, the labels always being all; None means all.
            first: batches left out at the beginning; they cost nothing.
        """
        order = self.order(seed, augment)
        for start in range(first * batch_size, len(self), batch_size):
            whole = slice(start, min(start + batch_size, len(self)))
            images, _ = self.batch(order, share(range(whole.start, whole.stop)) if share else whole)
            yield images, order.labels[whole]

    def order(self, seed: int, augment: bool = True) -> "Order":
        """Return an epoch's order and augmentation, as `epoch` draws them from its seed."""
        order = torch.randperm(len(self), generator=self._generator("order", seed), device=self.device)
        members = order if self._members is None else self._members[order]
        crops = self._augmentation(seed) if augment else ()
        return Order(members=members, labels=self._labels[order], crops=crops)

    def in_order(self) -> "Order":
        """Return the order that `batches` yields the images in, not augmented."""
        members = torch.arange(len(self), device=self.device) if self._members is None else self._members
        return Order(members=members, labels=self._labels, crops=())

    def batch(self, order: "Order", chosen: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Return the images float32 (B, C, H, W) and labels int64 (B,) at some places of an order."""
        images = self._images.index_select(0, order.members[chosen])
        if order.crops:
            images = crop_and_flip(images, self._spec.crop or 0, *(stream[chosen] for stream in order.crops))
        return self._encode(images), order.labels[chosen]

    def batches(self, batch_size: int, first: int = 0, every: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once, in order and not augmented: images float32 (B, C, H, W) and labels int64 (B,).

        Args:
            batch_size: images a batch; the last batch may be smaller.
            first: batches left out at the beginning.
            every: take one batch of so many.
        """
        for start in range(first * batch_size, len(self), every * batch_size):
            chosen = slice(start, start + batch_size)
            images = self._images[chosen] if self._members is None else self._images[self._members[chosen]]
            yield self._encode(images), self._labels[chosen]

    def _generator(self, stream: str, seed: int) -> torch.Generator:
        # Hashed, because torch's CPU generator looks at 32 bits of a seed only and near seeds must not share streams.
        digest = hashlib.sha256(f"{stream} {seed}".encode()).digest()
        return torch.Generator(self.device).manual_seed(int.from_bytes(digest[:4]))

    def _augmentation(self, seed: int) -> tuple[Tensor, ...]:
        """Return the top (N,) and left (N,) edge of every crop and whether it is flipped (N,); nothing if nothing is."""
        return drawn_crops(len(self), self._spec, self._generator("augmentation", seed))

    def _interleaves(self) -> bool:
        """Whether pixels become components in every batch; without augmentation `lay_out` did it once."""
        return self._spec.encoding == "pixels" and augments(self._spec)

    def _encode(self, images: Tensor) -> Tensor:
        """Return the batch as the network sees it, float32, from uint8."""
        if self._interleaves():
            images = interleave(images, self._n)
        colours = images.shape[1]
        if self._channels == colours:
            batch = images.float().mul_(self._scale).add_(self._offset)
            return batch.contiguous(memory_format=self._layout)
        batch = torch.empty(len(images), self._channels, *images.shape[2:], device=images.device)
        batch[:, :colours] = images
        batch[:, :colours].mul_(self._scale).add_(self._offset)
        batch[:, colours:] = 0
        if self._spec.encoding == "grey":
            grey = batch[:, colours]
            for channel, weight in enumerate(GREY):
                grey.add_(batch[:, channel], alpha=weight)
        return batch.contiguous(memory_format=self._layout)


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """In which order an epoch takes the images of a split, and how it changes them; places count from 0."""

    members: Tensor
    """int64 (N,): the image at each place."""
    labels: Tensor
    """int64 (N,): its class."""
    crops: tuple[Tensor, ...]
    """Top and left edges int64 (N,) and flips bool (N,), as `crop_and_flip` takes them; empty without augmentation."""
    seed: int | None = None
    """What functions of a batch and datasets draw from in this epoch; None where there are none."""
    augment: bool = True
    """Whether they change the items at all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """Images as they lie in memory: a batch is `bytes` times `scale`, rounded, plus `offset`, rounded."""

    bytes: Tensor
    """uint8 (M, features), by their numbers, as `Order.members` has them."""
    scale: Tensor
    """float32 (features,)."""
    offset: Tensor
    """float32 (features,)."""


def drawn_crops(count: int, spec: DataSpec, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Return the top (N,) and left (N,) edge of every crop and whether it is flipped (N,); nothing if nothing is."""
    padding = spec.crop or 0
    if not augments(spec):
        return ()
    edges = torch.randint(0, 2 * padding + 1, (2, count), generator=generator, device=generator.device)
    flips = torch.randint(0, 2 if spec.flip else 1, (count,), generator=generator, device=generator.device)
    return edges[0], edges[1], flips.bool()


def augments(spec: DataSpec) -> bool:
    """Whether `spec` changes images at random."""
    return spec.crop is not None or spec.flip


def lay_out(images: Tensor, spec: DataSpec, n: int) -> Tensor:
    """Return uint8 images (N, C, H, W) in the order that `Resident` keeps them in: what can be done once is done here."""
    # A crop or flip must see the image itself, so with them the pixels are only moved in the batch.
    return interleave(images, n) if spec.encoding == "pixels" and not augments(spec) else images


def interleave(images: Tensor, n: int) -> Tensor:
    """Turn each n consecutive pixels of a row into the components of one number: (N, C, H, W) to (N, n·C, H, W/n).

    Component k of number j is pixel n·j + k. All of component 0 come first: channel k·C + c holds component k of colour c.
    """
    count, colours, height, width = images.shape
    numbers = images.view(count, colours, height, width // n, n)
    # `contiguous`, because with one colour the reshape is a strided view, and gathering from that is three times slower.
    return numbers.permute(0, 4, 1, 2, 3).reshape(count, n * colours, height, width // n).contiguous()


def crop_and_flip(images: Tensor, padding: int, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
    """Cut a window of the images' own size out of each black-padded image and mirror some of them.

    Args:
        images: (B, C, H, W).
        padding: black pixels added on each side.
        top: int64 (B,), first row of each window in the padded image, 0 … 2·padding.
        left: int64 (B,), first column of each window, 0 … 2·padding.
        flip: bool (B,), which windows are mirrored left to right.
    """
    count, colours, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    # Mirroring is a reversed column index, so that cropping and flipping are one gather.
    columns = torch.where(flip[:, None], width - 1 - column, column) + left[:, None]
    rows = (row + top[:, None]) * padded.shape[3]
    index = (rows[:, :, None] + columns[:, None, :]).view(count, 1, height * width).expand(-1, colours, -1)
    return padded.flatten(2).gather(2, index).view(count, colours, height, width)
