"""Semantic segmentation: a class of every pixel, judged by the mean intersection over union of all classes."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from fourfold.record import Metric, UserError
from fourfold.tasks.confusion import IGNORE, ConfusionMeter, class_factors, counted_terms
from fourfold.tasks.protocol import check_tensor

MEAN_IOU = Metric(name="miou", unit="%", title="mean IoU")


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A class of every pixel: cross-entropy, judged by mean intersection over union (IoU) in percent.

    Shapes: outputs (batch, classes, H, W), targets int64 (batch, H, W). Pixels of the label -100, and of `ignore_index`, are
    void: neither loss nor metrics count them.
    """

    label_smoothing: float = 0.0
    """Part of the probability that is spread over all classes."""
    class_weights: tuple[float, ...] | None = None
    """Factor of the loss of each class; None means 1. The mean is over the weights of the pixels, as in torch."""
    ignore_index: int | None = None
    """A label that is void, beside -100; None means none."""
    metric: Metric = MEAN_IOU

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean cross-entropy of the pixels that are not void, in nats; 0 where all are.

        Raises:
            UserError: outputs and targets do not fit each other.
        """
        logits, labels = _checked(outputs, targets, self.ignore_index)
        factors = class_factors(self.class_weights, logits)
        if not counted_terms(labels, self.class_weights, None):
            return logits.sum() * 0  # torch's mean of nothing is NaN
        return F.cross_entropy(logits, labels, weight=factors, ignore_index=IGNORE, label_smoothing=self.label_smoothing)

    def loss_terms(self, targets: Any) -> float:
        """Return what the loss is the mean over: the weights of all labels that are counted."""
        return counted_terms(check_tensor("targets", targets), self.class_weights, self.ignore_index)

    def meter(self) -> "SegmentationMeter":
        """Return a meter that has seen no batch."""
        return SegmentationMeter(ignore_index=self.ignore_index)


class SegmentationMeter(ConfusionMeter):
    """Intersection over union of all classes and of each, over the pixels of all batches."""

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in logits (batch, classes, H, W) and labels int64 (batch, H, W)."""
        logits, labels = _checked(outputs, targets, self._ignored)
        counted = labels != IGNORE
        self._count(labels[counted], logits.argmax(1)[counted], logits.shape[1])

    def compute(self) -> dict[str, float]:
        """Return, in percent, `miou`, `pixel_accuracy`, `class_accuracy` and `iou_0`, `iou_1`, … of each class.

        IoU of a class is the pixels that are rightly taken for it, over those that are of it or taken for it. A class that has
        neither is left out of `miou`, and one without pixels of its own out of `class_accuracy` (the mean over classes of the
        part of their pixels that is right). Such a class has an IoU of 0 where pixels are taken for it.

        Raises:
            UserError: nothing was counted.
        """
        confusion = self.confusion_matrix()
        count = int(confusion.sum())
        if not count:
            raise UserError("there is nothing to measure: every pixel is void")
        right, true = confusion.diagonal().tolist(), confusion.sum(1).tolist()
        ious = {f"iou_{label}": iou for label, iou in enumerate(self.per_class()) if iou is not None}
        parts = [100 * hits / pixels for hits, pixels in zip(right, true, strict=True) if pixels]
        return {
            "miou": sum(ious.values()) / len(ious),
            "pixel_accuracy": 100 * sum(right) / count,
            "class_accuracy": sum(parts) / len(parts),
        } | ious

    def per_class(self) -> list[float | None]:
        """Return the IoU of each class in percent; None for a class that no pixel is of or is taken for."""
        confusion = self.confusion_matrix()
        right = confusion.diagonal()
        union = confusion.sum(0) + confusion.sum(1) - right
        return [100 * hits / pixels if pixels else None for hits, pixels in zip(right.tolist(), union.tolist(), strict=True)]


def _checked(outputs: Any, targets: Any, ignored: int | None) -> tuple[Tensor, Tensor]:
    """Return logits, and labels in which what is void is `IGNORE`."""
    logits, labels = check_tensor("network's output", outputs), check_tensor("targets", targets)
    if logits.dim() < 3 or logits.shape[1] < 2:
        raise UserError(
            f"the network's output (of shape {tuple(logits.shape)}) must be (batch, classes, H, W) with two classes or more, "
            "for `task.name` (='segmentation')"
        )
    if labels.is_floating_point() or labels.shape != (logits.shape[0], *logits.shape[2:]):
        raise UserError(
            f"the targets ({labels.dtype} of shape {tuple(labels.shape)}) must be integers of shape "
            f"{(logits.shape[0], *logits.shape[2:])} for the network's output {tuple(logits.shape)} and `task.name` "
            "(='segmentation')"
        )
    labels = labels.long()
    return logits, labels if ignored is None else labels.masked_fill(labels == ignored, IGNORE)
