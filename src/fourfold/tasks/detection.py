"""Object detection as YOLOv1 does it (Redmon et al. 2016): a grid whose cells predict boxes and one class each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fourfold.record import Metric, UserError
from fourfold.record.task_spec import BOXES, GRID
from fourfold.tasks.average_precision import ImageBoxes, average_precisions
from fourfold.tasks.boxes import pairwise_iou, suppressed
from fourfold.tasks.protocol import check_tensor

MAP50 = Metric(name="map50", unit="%", title="mAP at IoU 0.5")

COORDINATE_FACTOR, NO_OBJECT_FACTOR = 5.0, 0.5
"""λ_coord and λ_noobj of YOLOv1."""

_STEEPEST = 1e-6
"""Added under the square root of predicted widths, whose slope is infinite at 0."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Boxes and their classes: the loss of YOLOv1, judged by mean average precision (mAP) in percent.

    Shapes: outputs (batch, grid² · (classes + 5 · boxes)), the cells row by row; of each cell its classes, and of each of its
    boxes the confidence, the centre (x, y) in the cell from 0 to 1, and width and height in cells. Targets are a dict of
    `boxes` (batch, M, 4), corners (left, top, right, bottom) as parts of the image's sides, and `labels` int64 (batch, M), -1
    where an image has fewer than M boxes; and, if wanted, `difficult` bool (batch, M), boxes that are trained on and need not
    be found.
    """

    grid: int = GRID
    """Cells along each side, S in the paper."""
    boxes: int = BOXES
    """Boxes that a cell predicts, B in the paper."""
    coordinate_factor: float = COORDINATE_FACTOR
    """Of the loss of centres and sizes, λ_coord in the paper."""
    no_object_factor: float = NO_OBJECT_FACTOR
    """Of the loss of confidences in cells without an object, λ_noobj in the paper."""
    least_score: float = 0.01
    """Boxes of a lower score are no detections."""
    overlap: float = 0.5
    """Non-maximum suppression removes boxes with a larger IoU with a better one of their class."""
    metric: Metric = MAP50

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the sum of squared errors of a batch over its images, as paper 2's released code adds them up.

        A cell is responsible for the object whose centre is in it (the last of several), and of its boxes the one with the
        largest IoU for that object. Its centre counts, the roots of its width and height in cells, its confidence, which shall
        be 1, and the cell's classes; of cells without an object, the confidences of all boxes, which shall be 0.

        Raises:
            UserError: outputs and targets do not fit each other.
        """
        classes, confidences, boxes = self._predictions(outputs)
        corners, labels, _ = _checked(targets, outputs)
        if labels.numel() and int(labels.max()) >= classes.shape[2]:
            raise UserError(
                f"the targets (with the label {int(labels.max())}) must have labels below {classes.shape[2]}, the classes that "
                "the network's output leaves room for, for `task.name` (='detection')"
            )
        winner, truth = self._assigned(corners.to(boxes.dtype), labels)
        present = winner >= 0
        chosen_label = labels.gather(1, winner.clamp(min=0)).clamp(min=0)
        responsible = _own_iou(boxes.detach(), truth).argmax(2, keepdim=True)
        box = boxes.gather(2, responsible.unsqueeze(3).expand(-1, -1, 1, 4)).squeeze(2)
        confidence = confidences.gather(2, responsible).squeeze(2)
        sizes = box[..., 2:].sign() * (box[..., 2:].abs() + _STEEPEST).sqrt()
        places = (box[..., :2] - truth[..., :2]).square().sum(2) + (sizes - truth[..., 2:].sqrt()).square().sum(2)
        right = F.one_hot(chosen_label, classes.shape[2]).to(classes.dtype)
        of_object = self.coordinate_factor * places + (confidence - 1).square() + (classes - right).square().sum(2)
        of_nothing = self.no_object_factor * confidences.square().sum(2)
        return torch.where(present, of_object, of_nothing).sum() / len(labels)

    def decode(self, outputs: Any) -> list[dict[str, Tensor]]:
        """Return the detections of each image of a batch: `boxes` (D, 4) as parts of its sides, `scores` and `labels` (D,).

        A box has its cell's likeliest class and, as score, its confidence times that class's value. Highest scores come first.
        """
        classes, confidences, boxes = self._predictions(outputs)
        count = len(boxes)
        value, label = classes.clamp(0, 1).max(2)
        scores = (confidences.clamp(0, 1) * value.unsqueeze(2)).flatten(1)
        labels = label.unsqueeze(2).expand_as(confidences).flatten(1)
        centres = (boxes[..., :2] + self._cells(boxes)) / self.grid
        halves = boxes[..., 2:].clamp(min=0) / (2 * self.grid)
        corners = torch.cat([centres - halves, centres + halves], dim=3).clamp(0, 1).reshape(count, -1, 4)
        candidates = scores >= self.least_score
        scores = torch.where(candidates, scores, -1)
        kept = candidates & ~suppressed(corners, scores, labels, self.overlap)
        detections = []
        for one, places, score, name in zip(kept, corners, scores, labels, strict=True):
            order = score[one].argsort(descending=True, stable=True)
            detections.append({"boxes": places[one][order], "scores": score[one][order], "labels": name[one][order]})
        return detections

    def meter(self) -> "DetectionMeter":
        """Return a meter that has seen no batch."""
        return DetectionMeter(self)

    def _predictions(self, outputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return classes (batch, S², C), confidences (batch, S², B) and centres and sizes (batch, S², B, 4)."""
        values = check_tensor("network's output", outputs)
        cells = self.grid**2
        if values.dim() != 2 or values.shape[1] % cells or values.shape[1] // cells <= 5 * self.boxes:
            raise UserError(
                f"the network's output (of shape {tuple(values.shape)}) must be (batch, {cells} · (classes + {5 * self.boxes}))"
                f" for `task.name` (='detection') with `task.grid` (={self.grid}) and `task.boxes` (={self.boxes})"
            )
        classes, boxes = values.reshape(len(values), cells, -1).tensor_split([values.shape[1] // cells - 5 * self.boxes], dim=2)
        confidences, places = boxes.reshape(len(values), cells, self.boxes, 5).tensor_split([1], dim=3)
        return classes, confidences.squeeze(3), places

    def _assigned(self, corners: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box of each cell, int64 (batch, S²), -1 for none, and its centre and size in cells (batch, S², 4)."""
        count, most = labels.shape
        centres = (corners[..., :2] + corners[..., 2:]) / 2 * self.grid
        column, row = centres.long().clamp(0, self.grid - 1).unbind(2)
        outside = self.grid**2
        cell = torch.where(labels >= 0, row * self.grid + column, outside)
        numbers = torch.arange(most, device=labels.device).expand_as(labels)
        winner = labels.new_full((count, outside + 1), -1).scatter_reduce(1, cell, numbers, "amax")[:, :outside]
        index = winner.clamp(min=0).unsqueeze(2)
        centre = centres.gather(1, index.expand(-1, -1, 2)) - self._cells(corners)
        size = (corners[..., 2:] - corners[..., :2]).clamp(min=0).gather(1, index.expand(-1, -1, 2)) * self.grid
        return winner, torch.cat([centre, size], dim=2)

    def _cells(self, like: Tensor) -> Tensor:
        """Return column and row of each cell, (S², 1, 2) or (S², 2) to fit beside (batch, S², B, 2) or (batch, S², 2)."""
        numbers = torch.arange(self.grid**2, device=like.device)
        cells = torch.stack([numbers % self.grid, numbers // self.grid], dim=1).to(like.dtype)
        return cells.unsqueeze(1) if like.dim() == 4 else cells


class DetectionMeter:
    """Average precision of every class over the images of all batches, as COCO's evaluation defines it.

    Args:
        task: Decodes the network's outputs.
    """

    def __init__(self, task: Detection) -> None:
        self._task = task
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._images: list[ImageBoxes] = []
        self._classes = 0

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in outputs and targets as `Detection` has them."""
        corners, labels, difficult = (value.cpu() for value in _checked(targets, outputs))
        detections = self._task.decode(outputs)
        cells = self._task.grid**2
        self._classes = check_tensor("network's output", outputs).shape[1] // cells - 5 * self._task.boxes
        for one, places, label, is_difficult in zip(detections, corners, labels, difficult, strict=True):
            present = label >= 0
            self._images.append(
                ImageBoxes(
                    boxes=places[present].double().numpy(),
                    labels=label[present].numpy(),
                    difficult=is_difficult[present].numpy(),
                    detections=one["boxes"].cpu().double().numpy(),
                    scores=one["scores"].cpu().double().numpy(),
                    detected_labels=one["labels"].cpu().numpy(),
                )
            )

    def compute(self) -> dict[str, float]:
        """Return, in percent, `map50` (mean of all classes at an IoU of 0.5) and `map` (mean of those at 0.5, 0.55, … 0.95),
        and of each class `ap50_0`, `ap_0`, `ap50_1`, …. A class without boxes is left out.

        Raises:
            UserError: no image has a box.
        """
        values = self._values()
        known = [label for label in range(self._classes) if not np.isnan(values[label, 0])]
        if not known:
            raise UserError("there is nothing to measure: no image has a box that must be found")
        each = {f"ap50_{label}": float(values[label, 0]) for label in known}
        each |= {f"ap_{label}": float(values[label].mean()) for label in known}
        return {"map50": float(values[known, 0].mean()), "map": float(values[known].mean())} | each

    def per_class(self) -> list[float | None]:
        """Return the average precision of each class at an IoU of 0.5, in percent; None for a class without boxes."""
        return [None if np.isnan(value) else float(value) for value in self._values()[:, 0]]

    def _values(self) -> NDArray[np.float64]:
        """Return the average precision of each class at each IoU, in percent; NaN for a class without boxes."""
        if not self._images:
            raise UserError("there is nothing to measure: the meter has seen no batch")
        return 100 * average_precisions(self._images, self._classes)


def _own_iou(boxes: Tensor, truth: Tensor) -> Tensor:
    """Return the IoU of each of a cell's boxes (batch, S², B, 4) with its object (batch, S², 4): (batch, S², B)."""
    corners = [
        torch.cat([value[..., :2] - value[..., 2:].clamp(min=0) / 2, value[..., :2] + value[..., 2:].clamp(min=0) / 2], dim=-1)
        for value in (boxes, truth.unsqueeze(2))
    ]
    return pairwise_iou(corners[0], corners[1]).squeeze(3)


def _checked(targets: Any, outputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, labels, and which are difficult."""
    if not isinstance(targets, Mapping) or not {"boxes", "labels"} <= set(targets):
        what = f"a dict of {', '.join(map(str, targets))}" if isinstance(targets, Mapping) else f"a {type(targets).__name__}"
        raise UserError(f"the targets ({what}) must be a dict of `boxes` and `labels` for `task.name` (='detection')")
    boxes, labels = (check_tensor(f"targets' `{name}`", targets[name]) for name in ("boxes", "labels"))
    difficult = targets.get("difficult")
    difficult = torch.zeros_like(labels, dtype=torch.bool) if difficult is None else difficult.bool()
    count = len(check_tensor("network's output", outputs))
    if labels.dim() != 2 or boxes.shape != (*labels.shape, 4) or difficult.shape != labels.shape or len(labels) != count:
        raise UserError(
            f"the targets (boxes {tuple(boxes.shape)}, labels {tuple(labels.shape)}) must be (batch, M, 4) and (batch, M) with "
            f"a batch of {count} for `task.name` (='detection')"
        )
    if not labels.shape[1]:  # as if there were room for one
        return boxes.new_zeros(count, 1, 4), labels.new_full((count, 1), -1).long(), difficult.new_zeros(count, 1)
    return boxes, labels.long(), difficult
