"""Boxes as corners (left, top, right, bottom): their overlap, and non-maximum suppression."""

import torch
from torch import Tensor


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union (IoU) of every box with every other.

    Shapes: (…, N, 4) and (…, M, 4) → (…, N, M). Boxes without area have an IoU of 0 with all.
    """
    low = torch.maximum(first[..., :, None, :2], second[..., None, :, :2])
    high = torch.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = areas(first)[..., :, None] + areas(second)[..., None, :] - shared
    return torch.where(union > 0, shared / union, 0)


def areas(boxes: Tensor) -> Tensor:
    """Return the areas (…) of boxes (…, 4); 0 where a right or lower edge is not beyond the left or upper one."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def suppressed(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> Tensor:
    """Return which boxes non-maximum suppression removes, bool (B, K).

    Going from the highest score to the lowest, a box that is kept removes all boxes behind it that have its label and an IoU
    with it above `overlap`. Of equal scores, the first in order is the higher.

    Args:
        boxes: (B, K, 4), of B images.
        scores: (B, K).
        labels: Integers (B, K).
        overlap: The largest IoU of two boxes of one label that may both stay.
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    ranked, ranked_labels = boxes.gather(1, order.unsqueeze(2).expand_as(boxes)), labels.gather(1, order)
    rivals = (pairwise_iou(ranked, ranked) > overlap) & (ranked_labels.unsqueeze(2) == ranked_labels.unsqueeze(1))
    rivals = rivals.triu(1)  # a box removes those behind it alone
    removed = torch.zeros_like(scores, dtype=torch.bool)
    for rank in range(scores.shape[1]):
        removed |= rivals[:, rank] & ~removed[:, rank, None]
    return torch.zeros_like(removed).scatter(1, order, removed)
