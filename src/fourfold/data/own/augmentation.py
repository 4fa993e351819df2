"""Random views of images with label maps or boxes: mirrored, scaled and cropped, the targets with the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fourfold.data.boxes import windowed
from fourfold.data.own.values import IGNORED
from fourfold.data.trees import is_leaf
from fourfold.record.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Views:
    """An `augment` for images with label maps or boxes: each item is scaled, cropped and mirrored at random.

    Images are resampled bilinearly; of labels the nearest is taken, so that none is mixed. What a smaller image leaves of its
    window is black and void. Boxes are cut to the window, and left out where less than a quarter of their area is in it.

    Raises:
        UserError: a setting that cannot be.
    """

    flip: bool = True
    """Mirror half of the items left to right."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest factor of height and width, drawn evenly."""
    size: tuple[int, int] | None = None
    """Height and width of the window that is cut out; None means those of the image."""
    void: int = IGNORED
    """Label of what is not in the image."""

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0.05 <= low <= high <= 20:
            raise UserError(f"`scale` (={self.scale}) must be two factors from 0.05 to 20, the smaller one first")
        if self.size is not None and min(self.size) < 1:
            raise UserError(f"`size` (={self.size}) must be height and width from 1")

    def __call__(self, batch: tuple[Tensor, Any], generator: torch.Generator) -> tuple[Tensor, Any]:
        """Return images (B, C, h, w) of the type that they have, and their labels int64 (B, h, w) or boxes."""
        images, targets = batch
        has_boxes = isinstance(targets, dict) and "boxes" in targets
        if images.dim() != 4 or not (has_boxes or (is_leaf(targets) and targets.shape == (len(images), *images.shape[2:]))):
            description = tuple(targets.shape) if is_leaf(targets) else f"a {type(targets).__name__}"
            raise UserError(
                f"`augment` (=Views) must have images (B, C, H, W) with label maps (B, H, W) or boxes, found "
                f"{tuple(images.shape)} and {description}"
            )
        uniform = torch.rand(4, len(images), generator=generator, device=generator.device).cpu()
        windows = [self._window(image.shape[1:], *draws) for image, draws in zip(images, uniform.T.tolist(), strict=True)]
        views = torch.stack([window.of_image(image) for window, image in zip(windows, images, strict=True)])
        if not has_boxes:
            maps = [window.of_labels(labels, self.void) for window, labels in zip(windows, targets.long(), strict=True)]
            return views, torch.stack(maps)
        places = [torch.tensor(values, device=targets["boxes"].device) for values in zip(*map(_of_boxes, windows), strict=True)]
        return views, windowed(targets, *places)

    def _window(self, sides: Sequence[int], scale: float, top: float, left: float, mirror: float) -> "_Window":
        """Return one item's window, by four numbers from 0 to 1."""
        factor = self.scale[0] + scale * (self.scale[1] - self.scale[0])
        scaled = (sides[0], sides[1]) if factor == 1 else (max(1, round(factor * sides[0])), max(1, round(factor * sides[1])))
        size = self.size or (sides[0], sides[1])
        places = [_place(side, target, part) for side, target, part in zip(scaled, size, (top, left), strict=True)]
        first, empty = zip(*places, strict=True)
        return _Window(
            scaled=scaled, size=size, first=(first[0], first[1]), empty=(empty[0], empty[1]), flip=self.flip and mirror < 0.5
        )


@dataclass(frozen=True, kw_only=True)
class _Window:
    """A window of a scaled image; all pairs are of rows and columns."""

    scaled: tuple[int, int]
    """Height and width of the image when it is scaled."""
    size: tuple[int, int]
    """Height and width of the window."""
    first: tuple[int, int]
    """Where it begins in the scaled image."""
    empty: tuple[int, int]
    """How much is empty before the image, where that is smaller."""
    flip: bool

    def of_image(self, image: Tensor) -> Tensor:
        """Return the window of an image (C, H, W)."""
        if self.scaled != tuple(image.shape[1:]):
            large = F.interpolate(image[None].float(), self.scaled, mode="bilinear", antialias=True)[0]
            image = large.round().clamp(0, 255).to(image.dtype) if image.dtype == torch.uint8 else large.to(image.dtype)
        return self._cut(image, 0)

    def of_labels(self, labels: Tensor, void: int) -> Tensor:
        """Return the window of a label map (H, W)."""
        if self.scaled != tuple(labels.shape):
            labels = labels[_nearest(self.scaled[0], labels.shape[0])][:, _nearest(self.scaled[1], labels.shape[1])]
        return self._cut(labels, void)

    def _cut(self, pixels: Tensor, filling: int) -> Tensor:
        (row, column), (height, width), (above, before) = self.first, self.size, self.empty
        pixels = pixels[..., row : row + height, column : column + width]
        below, behind = height - above - pixels.shape[-2], width - before - pixels.shape[-1]
        pixels = F.pad(pixels, (before, behind, above, below), value=filling)
        return pixels.flip(-1) if self.flip else pixels


def _of_boxes(window: _Window) -> tuple[tuple[float, float], tuple[float, float], bool]:
    """Return what `windowed` takes of a window: factors, offsets, and whether it is mirrored."""
    (height, width), (row, column), (above, before) = window.size, window.first, window.empty
    factors = window.scaled[1] / width, window.scaled[0] / height
    return factors, ((before - column) / width, (above - row) / height), window.flip


def _nearest(new: int, old: int) -> Tensor:
    return (torch.arange(new) * 2 + 1) * old // (2 * new)


def _place(side: int, target: int, part: float) -> tuple[int, int]:
    """Return where a window begins in a side, and how much is empty before it, where the side is shorter."""
    free = abs(side - target)
    place = min(free, int(part * (free + 1)))
    return (place, 0) if side >= target else (0, place)
