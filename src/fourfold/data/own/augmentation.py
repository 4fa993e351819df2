"""Random views of images with label maps: mirrored, scaled and cropped, the labels with the image."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fourfold.data.own.values import IGNORED
from fourfold.record.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Views:
    """An `augment` for images and label maps of one height and width: each item is scaled, cropped and mirrored at random.

    Images are resampled bilinearly; of labels the nearest is taken, so that none is mixed. What a smaller image leaves of its
    window is black and void.

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

    def __call__(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return images (B, C, h, w) of the type that they have, and their labels int64 (B, h, w)."""
        images, labels = batch
        if images.dim() != 4 or labels.shape != (images.shape[0], *images.shape[2:]):
            raise UserError(
                f"`augment` (=Views) must have images (B, C, H, W) with label maps (B, H, W), found {tuple(images.shape)} and "
                f"{tuple(labels.shape)}"
            )
        uniform = torch.rand(4, len(images), generator=generator, device=generator.device).cpu()
        views = [self._view(*item) for item in zip(images, labels.long(), *uniform.tolist(), strict=True)]
        return torch.stack([image for image, _ in views]), torch.stack([label for _, label in views])

    def _view(
        self, image: Tensor, labels: Tensor, scale: float, top: float, left: float, mirror: float
    ) -> tuple[Tensor, Tensor]:
        """Return one item's view, by four numbers from 0 to 1."""
        height, width = self.size or (image.shape[1], image.shape[2])
        factor = self.scale[0] + scale * (self.scale[1] - self.scale[0])
        if factor != 1:
            sides = [max(1, round(factor * side)) for side in image.shape[1:]]
            large = F.interpolate(image[None].float(), sides, mode="bilinear", antialias=True)[0]
            image = large.round().clamp(0, 255).to(image.dtype) if image.dtype == torch.uint8 else large.to(image.dtype)
            labels = labels[_nearest(sides[0], labels.shape[0])][:, _nearest(sides[1], labels.shape[1])]
        windows = [
            _window(side, target_side, part)
            for side, target_side, part in zip(labels.shape, (height, width), (top, left), strict=True)
        ]
        (row, above), (column, before) = windows
        image, labels = (tensor[..., row : row + height, column : column + width] for tensor in (image, labels))
        below, behind = height - above - labels.shape[0], width - before - labels.shape[1]
        image = F.pad(image, (before, behind, above, below))
        labels = F.pad(labels, (before, behind, above, below), value=self.void)
        if self.flip and mirror < 0.5:
            image, labels = image.flip(-1), labels.flip(-1)
        return image, labels


def _nearest(new: int, old: int) -> Tensor:
    return (torch.arange(new) * 2 + 1) * old // (2 * new)


def _window(side: int, target: int, part: float) -> tuple[int, int]:
    """Return where a window begins in a side, and how much is empty before it, where the side is shorter."""
    free = abs(side - target)
    place = min(free, int(part * (free + 1)))
    return (place, 0) if side >= target else (0, place)
