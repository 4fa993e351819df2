"""`Examples`: what a network says of a few items of the test set, as a file of a run has it.

Level 0 of trial 0 also has the items themselves and what is right, so that pictures can be drawn of files alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fourfold.record.arrays import Arrays, ArraysError

if TYPE_CHECKING:
    import numpy as np

EXAMPLE_TRIAL = 0
"""The trial whose levels leave examples."""

NUM_EXAMPLES = 3
"""Items of the test set, evenly spread over it."""

LONGEST_SIDE = 160
"""Pixels of the longer side of an example, above which images are averaged and label maps thinned out by an integer."""

MOST_BOXES = 50
"""Boxes of one item that a file has."""

LEAST_SCORE = 0.2
"""Boxes of a lower score are left out of examples."""

VOID = 255
"""The class of a pixel that counts nowhere; so classes of label maps are fewer."""

MOST_BYTES = 2**20
"""Of a file of examples: three images in colour, label maps and boxes have at most 0.4 MB."""

_KINDS = {"images": 4, "truth.map": 3, "map": 3, "truth.boxes": 3, "truth.labels": 2, "boxes": 3, "scores": 2, "labels": 2}
"""Names of the arrays, and how many axes each has; the first is of the items."""

_TYPES = {"images": "|u1", "truth.map": "|u1", "map": "|u1", "truth.labels": "<i2", "labels": "<i2"}
"""Types of arrays that are not float32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes:
    """Boxes of each of N examples, at most M of each."""

    corners: "np.ndarray"
    """float32 (N, M, 4): left, top, right, bottom as parts of the image's sides."""
    labels: "np.ndarray"
    """int16 (N, M), -1 where an image has fewer than M boxes."""
    scores: "np.ndarray | None" = None
    """float32 (N, M), of detected boxes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """What one level says of a few items; label maps of segmentation, boxes of detection."""

    map: "np.ndarray | None" = None
    """uint8 (N, H, W)."""
    boxes: Boxes | None = None
    images: "np.ndarray | None" = None
    """uint8 (N, 1 or 3, H, W), as `true_map` and `true_boxes` of level 0 alone."""
    true_map: "np.ndarray | None" = None
    true_boxes: Boxes | None = None

    @classmethod
    def of(cls, arrays: Arrays) -> "Examples":
        """Return the examples that a file holds.

        Raises:
            ArraysError: an array is missing, or has another name, type or shape.
        """
        _check(arrays)
        return cls(
            map=arrays.get("map"),
            boxes=_boxes(arrays, ""),
            images=arrays.get("images"),
            true_map=arrays.get("truth.map"),
            true_boxes=_boxes(arrays, "truth."),
        )


def _boxes(arrays: Arrays, part: str) -> Boxes | None:
    if f"{part}boxes" not in arrays:
        return None
    return Boxes(corners=arrays[f"{part}boxes"], labels=arrays[f"{part}labels"], scores=arrays.get(f"{part}scores"))


def _check(arrays: Mapping[str, "np.ndarray"]) -> None:
    """Raise `ArraysError` unless arrays are those of examples, and fit each other."""
    import numpy as np

    for name, array in arrays.items():
        if name not in _KINDS or array.ndim != _KINDS[name] or array.dtype.str != _TYPES.get(name, "<f4"):
            raise ArraysError(f"expected the arrays of examples, found {name!r} ({array.dtype} of shape {array.shape})")
    names = set(arrays)
    predicted, truth = names - {"images"}, {name for name in names if name.startswith("truth.")}
    if predicted - truth not in ({"map"}, {"boxes", "scores", "labels"}):
        raise ArraysError(
            f"expected a label map or boxes with scores and labels, found {', '.join(sorted(names)) or 'nothing'}"
        )
    right = {"truth.map"} if "map" in names else {"truth.boxes", "truth.labels"}
    if truth not in (set(), right) or bool(truth) != ("images" in names):
        raise ArraysError(f"expected images and what is right of them, or neither, found {', '.join(sorted(names))}")
    if len({len(array) for array in arrays.values()}) != 1:
        raise ArraysError("expected arrays of the same items, found some of other lengths")
    images = arrays.get("images")
    maps = [arrays[name].shape[1:] for name in ("map", "truth.map") if name in names]
    sizes = {*maps, *([] if images is None or not maps else [images.shape[2:]])}
    if len(sizes) > 1 or any(0 in array.shape for name, array in arrays.items() if name in ("map", "images")):
        raise ArraysError(f"expected images and label maps of one size, found {sorted(sizes)}")
    if images is not None and images.shape[1] not in (1, 3):
        raise ArraysError(f"expected images of 1 or 3 channels, found {images.shape[1]}")
    for part in ("", "truth."):
        if f"{part}boxes" in names:
            shape = arrays[f"{part}boxes"].shape
            beside = [arrays[f"{part}{name}"].shape for name in ("labels", "scores") if f"{part}{name}" in names]
            if shape[2] != 4 or any(other != shape[:2] for other in beside):
                raise ArraysError(f"expected 4 corners, a label and a score of each box, found {shape} and {beside}")
            if not np.isfinite(arrays[f"{part}boxes"]).all():
                raise ArraysError("expected corners that are finite")
