"""Boxes of images as targets: padded to one number, and moved with their images.

Targets are a dict of `boxes` float32 (B, M, 4), corners (left, top, right, bottom) as parts of the image's sides, `labels`
int64 (B, M), -1 where an image has fewer than M boxes, and `difficult` bool (B, M).
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fourfold.record.errors import UserError

Boxes: TypeAlias = dict[str, Tensor]

NO_BOX = -1
"""The label where there is no box."""

LEAST_PART = 0.25
"""Of a box's area that must be left in a window, or the box is none any more."""


def padded(images: Sequence[Sequence[tuple[int, Sequence[float], bool]]]) -> Boxes:
    """Return the boxes of images as targets.

    Args:
        images: Of each, its boxes: label, corners, and whether it is difficult.
    """
    most = max(1, *map(len, images)) if images else 1
    labels = torch.full((len(images), most), NO_BOX)
    boxes, difficult = torch.zeros(len(images), most, 4), torch.zeros(len(images), most, dtype=torch.bool)
    for number, image in enumerate(images):
        if image:
            names, corners, hard = zip(*image, strict=True)
            labels[number, : len(image)] = torch.tensor(names)
            boxes[number, : len(image)] = torch.tensor(corners)
            difficult[number, : len(image)] = torch.tensor(hard)
    return {"boxes": boxes, "labels": labels, "difficult": difficult}


def checked_boxes(targets: Any, name: str) -> Boxes:
    """Return boxes that a user gives as targets, with `difficult` where it is not there.

    Raises:
        UserError: they are no dict of `boxes` and `labels` that fit each other, or a box has no area or is not in its image.
    """
    if not isinstance(targets, dict) or not {"boxes", "labels"} <= set(targets) <= {"boxes", "labels", "difficult"}:
        described = f"a dict of {', '.join(map(str, targets))}" if isinstance(targets, dict) else f"a {type(targets).__name__}"
        raise UserError(f"`{name}` ({described}) must be a dict of `boxes` and `labels` for targets of kind 'boxes'")
    boxes, labels = targets["boxes"], targets["labels"]
    difficult = targets.get("difficult", torch.zeros(labels.shape, dtype=torch.bool))
    shapes = boxes.shape == (*labels.shape, 4) and difficult.shape == labels.shape and labels.dim() == 2
    if not shapes or labels.is_floating_point() or not boxes.is_floating_point():
        raise UserError(
            f"`{name}` (boxes {tuple(boxes.shape)}, labels {tuple(labels.shape)}) must have floats (N, M, 4) and integers "
            "(N, M) for targets of kind 'boxes'"
        )
    sound = (boxes[..., :2] < boxes[..., 2:]).all(2) & (boxes >= 0).all(2) & (boxes <= 1).all(2)
    wrong = (labels != NO_BOX) & ~sound
    if bool(wrong.any()):
        item, place = wrong.nonzero()[0].tolist()
        corners = ", ".join(f"{side:g}" for side in boxes[item, place].tolist())
        raise UserError(
            f"`{name}` (=({corners}) at item {item}) must be corners (left, top, right, bottom) of an area, as parts of the"
            " image's sides from 0 to 1"
        )
    return {"boxes": boxes.float(), "labels": labels.long(), "difficult": difficult.bool()}


def windowed(targets: Boxes, factor: Tensor, offset: Tensor, flip: Tensor) -> Boxes:
    """Return boxes in windows of their images: cut to them, and mirrored.

    A box of which less than `LEAST_PART` of the area is left has the label -1.

    Args:
        targets: (B, M) boxes.
        factor: Width and height of the image by those of the window, (B, 2).
        offset: Where left and upper edge of the image lie, as parts of the window's sides, (B, 2).
        flip: Which windows are mirrored left to right, bool (B,).
    """
    corners = targets["boxes"] * factor.repeat(1, 2).unsqueeze(1) + offset.repeat(1, 2).unsqueeze(1)
    left = corners.clamp(0, 1)
    whole, rest = ((value[..., 2:] - value[..., :2]).clamp(min=0).prod(2) for value in (corners, left))
    left = torch.where(flip[:, None, None], mirrored(left), left)
    stays = (targets["labels"] != NO_BOX) & (rest > 0) & (rest >= LEAST_PART * whole)
    return targets | {"boxes": left, "labels": torch.where(stays, targets["labels"], NO_BOX)}


def mirrored(boxes: Tensor) -> Tensor:
    """Return boxes (…, 4) of images that are mirrored left to right."""
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack([1 - right, top, 1 - left, bottom], dim=-1)


def cropped(targets: Boxes, padding: int, crops: Sequence[Tensor], size: Sequence[int]) -> Boxes:
    """Return the boxes of images that `crop_and_flip` cuts and mirrors.

    Args:
        targets: (B, M) boxes.
        padding: As there, in pixels.
        crops: As there: top, left and flip, each (B,).
        size: Height and width of the images.
    """
    (height, width), (top, left, flip) = size, crops
    place = targets["boxes"].device
    offset = torch.stack([(padding - left) / width, (padding - top) / height], dim=1).to(place, torch.float32)
    return windowed(targets, torch.ones_like(offset), offset, flip.to(place))
