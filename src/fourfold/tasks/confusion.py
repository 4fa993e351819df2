"""Which classes are taken for which, and what each counts: shared by classification and segmentation."""

import torch
from torch import Tensor

from fourfold.record import UserError

IGNORE = -100
"""The label that torch's cross-entropy leaves out."""


def class_factors(weights: tuple[float, ...] | None, logits: Tensor) -> Tensor | None:
    """Return the factor of the loss of each class, float (classes,); None means 1.

    Args:
        weights: `task.class_weights`.
        logits: (batch, classes, …), whose type and device the factors get.

    Raises:
        UserError: there is not one weight per class.
    """
    if weights is None:
        return None
    if len(weights) != logits.shape[1]:
        raise UserError(f"`task.class_weights` ({len(weights)} numbers) must be one per class of {logits.shape[1]}")
    return torch.tensor(weights, dtype=logits.dtype, device=logits.device)


def counted_terms(labels: Tensor, weights: tuple[float, ...] | None, ignored: int | None) -> float:
    """Return what the mean of a cross-entropy is over: the weights of all labels that are not left out, or their number.

    Args:
        labels: Integers (batch, …), or probabilities of classes, of which torch counts the items.
        weights: `task.class_weights`.
        ignored: `task.ignore_index`.
    """
    if labels.is_floating_point():
        return float(labels.numel() // labels.shape[1]) if labels.dim() > 1 else float(len(labels))
    counted = labels[(labels != IGNORE) & (labels != (IGNORE if ignored is None else ignored))]
    return float(len(counted)) if weights is None else float(torch.tensor(weights)[counted.cpu().long()].double().sum())


class ConfusionMeter:
    """Counts which classes are taken for which: one matrix of integers over all batches.

    Args:
        ignore_index: A label that is not counted, beside -100.
    """

    def __init__(self, ignore_index: int | None = None) -> None:
        self._ignored = ignore_index
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._confusion: Tensor | None = None

    def confusion_matrix(self) -> Tensor:
        """Return how often each class (row) was taken for each (column): int64 (classes, classes)."""
        if self._confusion is None:
            raise UserError("there is nothing to measure: the meter has seen no batch")
        return self._confusion.cpu()

    def per_class(self) -> list[float | None]:
        """Return what came out for each class, in percent; None for a class that does not occur."""
        raise NotImplementedError

    def _count(self, labels: Tensor, predicted: Tensor, classes: int) -> None:
        """Take in the labels of a batch, int64 (N,), and the classes that they were taken for."""
        confusion = torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)
        self._confusion = confusion if self._confusion is None else self._confusion + confusion
