"""`TaskSpec`: what the network is asked."""

from dataclasses import dataclass

from fourfold.record.checks import check_count, check_number
from fourfold.record.errors import UserError
from fourfold.record.references import parse

GRID, BOXES = 7, 2
"""Cells along each side, and boxes of a cell, of YOLOv1: S and B."""

_CLASSES = ("classification", "segmentation")

USERS: dict[str, tuple[str, ...]] = {
    "label_smoothing": _CLASSES,
    "class_weights": (*_CLASSES, "multilabel"),
    "ignore_index": _CLASSES,
    "grid": ("detection",),
    "boxes": ("detection",),
    "coordinate_factor": ("detection",),
    "no_object_factor": ("detection",),
}
"""The built-in tasks that have each setting."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What the network is asked: loss and metrics."""

    name: str = "classification"
    """classification, segmentation, detection, language, multilabel, regression, or code such as roads.py:task."""
    label_smoothing: float = 0.0
    """Classification, segmentation: part of the probability that is spread over all classes."""
    class_weights: tuple[float, ...] | None = None
    """Classification, segmentation: factor of the loss of each class; multilabel: of each label where it is 1. None means 1."""
    ignore_index: int | None = None
    """Classification, segmentation: a label that neither loss nor metrics count, such as 255; None means none."""
    grid: int | None = None
    """Detection: cells along each side of an image, S of YOLOv1; None means 7."""
    boxes: int | None = None
    """Detection: boxes that each cell predicts, B of YOLOv1; None means 2."""
    coordinate_factor: float | None = None
    """Detection: factor of the loss of centres and sizes of boxes; None means 5."""
    no_object_factor: float | None = None
    """Detection: factor of the loss of confidences in cells without an object; None means 0.5."""

    def __post_init__(self) -> None:
        check_name("task", self.name)
        check_number(self, "task", "label_smoothing", 0, 1, "[)")
        if self.class_weights is not None:
            weights = self.class_weights
            numbers = isinstance(weights, tuple | list) and all(
                isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight < 1e9 for weight in weights
            )
            if not numbers or not weights or not any(weights):
                raise UserError(f"`task.class_weights` (={weights!r}) must be None or one number of at least 0 per class")
            object.__setattr__(self, "class_weights", tuple(map(float, weights)))
        if self.ignore_index is not None and self.ignore_index != -100:  # torch's own
            check_count(self, "task", "ignore_index", 0)
        for name, most in (("grid", 64), ("boxes", 16)):
            if getattr(self, name) is not None:
                check_count(self, "task", name, 1)
                if getattr(self, name) > most:
                    raise UserError(f"`task.{name}` (={getattr(self, name)}) must be from 1 to {most}")
        for name in ("coordinate_factor", "no_object_factor"):
            if getattr(self, name) is not None:
                check_number(self, "task", name, 0, 1e6, "[]")
        for name, users in USERS.items():
            value = getattr(self, name)
            if value != getattr(type(self), name) and self.name not in users:
                raise UserError(f"`task.{name}` (={value!r}) cannot be combined with `task.name` (={self.name!r}): it has none")


def check_name(part: str, name: object) -> None:
    """Check that a value is the name of a part of a spec, or a reference to code."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise UserError(f"`{part}.name` (={name!r}) must be a name")
    try:
        parse(name)
    except UserError:
        raise UserError(
            f"`{part}.name` (={name!r}) must be a name, or code such as roads.py:{part} or package.module:{part}"
        ) from None
