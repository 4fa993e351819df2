"""Average precision of detected boxes, as COCO's evaluation defines it (Lin et al. 2014)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU from which on a detection is right; the first alone is Pascal VOC's."""

RECALLS = np.linspace(0, 1, 101)
"""Where precision is read."""

MOST_DETECTIONS = 100
"""Of one class in one image; those of lower scores do not count."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageBoxes:
    """The boxes of one image, as corners: those that are there, and those that were detected."""

    boxes: NDArray[np.float64]
    """(G, 4)."""
    labels: NDArray[np.int64]
    """(G,)."""
    difficult: NDArray[np.bool_]
    """(G,): which need not be detected. A detection of such a box is neither right nor wrong."""
    detections: NDArray[np.float64]
    """(D, 4)."""
    scores: NDArray[np.float64]
    """(D,)."""
    detected_labels: NDArray[np.int64]
    """(D,)."""


def average_precisions(images: Sequence[ImageBoxes], num_classes: int) -> NDArray[np.float64]:
    """Return the average precision of each class at each of `THRESHOLDS`, from 0 to 1: (classes, thresholds).

    It is the mean over `RECALLS` of the best precision at that recall or a larger one. NaN for a class without boxes that are
    not difficult.
    """
    values = np.full((num_classes, len(THRESHOLDS)), np.nan)
    for label in range(num_classes):
        matches = [_matched(image, label) for image in images]
        count = sum(int((~image.difficult[image.labels == label]).sum()) for image in images)
        if not count:
            continue
        scores = np.concatenate([match[0] for match in matches])
        order = np.argsort(-scores, kind="mergesort")
        right, ignored = (np.concatenate([match[k] for match in matches], axis=1)[:, order] for k in (1, 2))
        hits, misses = np.cumsum(right & ~ignored, axis=1), np.cumsum(~right & ~ignored, axis=1)
        for number, (hit, miss) in enumerate(zip(hits.astype(np.float64), misses, strict=True)):
            values[label, number] = _mean_precision(hit / count, hit / np.maximum(hit + miss, 1))
    return values


def _mean_precision(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    best = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(best, 0)[places].mean())


def _matched(image: ImageBoxes, label: int) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return scores (D,) of a class, highest first, and which are of a box, and of a difficult one: bool (thresholds, D).

    A detection takes the box that it overlaps most of those that none before it has taken; a difficult one only if there is no
    other.
    """
    mine = np.flatnonzero(image.detected_labels == label)
    order = mine[np.argsort(-image.scores[mine], kind="mergesort")][:MOST_DETECTIONS]
    truths = np.flatnonzero(image.labels == label)
    truths = truths[np.argsort(image.difficult[truths], kind="mergesort")]
    right = np.zeros((len(THRESHOLDS), len(order)), dtype=np.bool_)
    ignored = np.zeros_like(right)
    difficult = image.difficult[truths]
    if not len(truths):
        return image.scores[order], right, ignored
    overlaps = _iou(image.detections[order], image.boxes[truths])
    matched = np.zeros((len(THRESHOLDS), len(truths)), dtype=np.bool_)
    rows = np.arange(len(THRESHOLDS))
    for number, overlap in enumerate(overlaps):
        fits = (overlap >= THRESHOLDS[:, None]) & ~matched
        plain = fits & ~difficult
        fits = np.where(plain.any(1)[:, None], plain, fits)
        rank = np.where(fits, overlap, -1)
        best = len(truths) - 1 - rank[:, ::-1].argmax(1)  # of equals the last, as COCO's code takes it
        right[:, number] = fits.any(1)
        matched[rows, best] |= right[:, number]
        ignored[:, number] = right[:, number] & difficult[best]
    return image.scores[order], right, ignored


def _iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    sizes = [np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(-1) for boxes in (first, second)]
    union = sizes[0][:, None] + sizes[1][None, :] - shared
    overlaps: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps
