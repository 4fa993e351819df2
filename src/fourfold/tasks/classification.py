"""Classification: one class of several, of every item or of every place of it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from fourfold.record import TOP1, Metric, UserError
from fourfold.tasks.confusion import IGNORE, ConfusionMeter, class_factors, counted_terms
from fourfold.tasks.protocol import check_tensor

FIVE_FROM = 100
"""Classes from which top-5 is measured, as the papers do."""


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One class of several: cross-entropy, judged by top-1 accuracy in percent.

    Shapes: outputs (batch, classes, …), targets int64 (batch, …), or probabilities in the shape of the outputs.
    """

    label_smoothing: float = 0.0
    """Part of the probability that is spread over all classes."""
    class_weights: tuple[float, ...] | None = None
    """Factor of the loss of each class; None means 1."""
    ignore_index: int | None = None
    """A label that neither loss nor metrics count, beside -100; None means none."""
    metric: Metric = TOP1

    @property
    def is_plain(self) -> bool:
        """Whether its loss is cross-entropy and nothing else, which every engine knows."""
        return not self.label_smoothing and self.class_weights is None and self.ignore_index is None

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean cross-entropy in nats; 0 where a setting leaves all labels out.

        Raises:
            UserError: outputs and targets do not fit each other.
        """
        logits, labels = _checked(outputs, targets)
        if self.is_plain:
            return F.cross_entropy(logits, labels)
        factors = class_factors(self.class_weights, logits)
        if not self.loss_terms(labels):
            return logits.sum() * 0  # torch's mean of nothing is NaN
        if self.ignore_index is not None and not labels.is_floating_point():
            labels = labels.masked_fill(labels == self.ignore_index, IGNORE)  # -100 is left out as well, as without a setting
        return F.cross_entropy(logits, labels, weight=factors, ignore_index=IGNORE, label_smoothing=self.label_smoothing)

    def loss_terms(self, targets: Any) -> float:
        """Return what the loss is the mean over: the weights of all labels that are counted."""
        return counted_terms(check_tensor("targets", targets), self.class_weights, self.ignore_index)

    def meter(self) -> "ClassificationMeter":
        """Return a meter that has seen no batch."""
        return ClassificationMeter(ignore_index=self.ignore_index)


class ClassificationMeter(ConfusionMeter):
    """Accuracy of all classes and of each, over all batches."""

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._five: Tensor | None = None

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in logits (batch, classes, …) and labels int64 (batch, …)."""
        logits, labels = _checked(outputs, targets)
        if labels.is_floating_point():
            labels = labels.argmax(1)
        classes = logits.shape[1]
        logits, labels = logits.movedim(1, -1).reshape(-1, classes), labels.reshape(-1)
        counted = labels != IGNORE  # which the loss leaves out, too
        if self._ignored is not None:
            counted &= labels != self._ignored
        logits, labels = logits[counted], labels[counted]
        self._count(labels, logits.argmax(1), classes)
        if classes >= FIVE_FROM:
            five = (logits.topk(5).indices == labels.unsqueeze(1)).sum()
            self._five = five if self._five is None else self._five + five

    def compute(self) -> dict[str, float]:
        """Return `top1` and, from 100 classes on, `top5`, in percent.

        Raises:
            UserError: nothing was counted.
        """
        confusion = self.confusion_matrix()
        count = int(confusion.sum())
        if not count:
            raise UserError("there is nothing to measure: every label is ignored")
        values = {"top1": 100 * int(confusion.diagonal().sum()) / count}
        return values if self._five is None else values | {"top5": 100 * int(self._five) / count}

    def per_class(self) -> list[float | None]:
        """Return the part of each class that is right, in percent; None for a class that does not occur."""
        confusion = self.confusion_matrix()
        counts = zip(confusion.diagonal().tolist(), confusion.sum(1).tolist(), strict=True)
        return [100 * right / count if count else None for right, count in counts]


def _checked(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Return logits and labels whose shapes fit each other."""
    logits, labels = check_tensor("network's output", outputs), check_tensor("targets", targets)
    if logits.dim() < 2 or logits.shape[1] < 2:
        raise UserError(
            f"the network's output (of shape {tuple(logits.shape)}) must be (batch, classes, …) with two classes or more, for "
            "`task.name` (='classification')"
        )
    if labels.is_floating_point():
        right = tuple(logits.shape)
    else:
        labels, right = labels.long(), (logits.shape[0], *logits.shape[2:])
    if tuple(labels.shape) != right:
        raise UserError(
            f"the targets (of shape {tuple(labels.shape)}) must have shape {right} for the network's output "
            f"{tuple(logits.shape)} and `task.name` (='classification')"
        )
    return logits, labels
