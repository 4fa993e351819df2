"""Multilabel classification: any number of labels of every item."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fourfold.record import Metric, UserError
from fourfold.tasks.protocol import check_tensor

F1 = Metric(name="f1", unit="%", title="F1 of all labels")


@dataclass(frozen=True, kw_only=True)
class Multilabel:
    """Any number of labels: binary cross-entropy, judged by the F1 of all labels taken together, in percent.

    Shapes: outputs (batch, labels), targets (batch, labels) of 0 and 1.
    """

    class_weights: tuple[float, ...] | None = None
    """Factor of the loss of each label where it is 1; None means 1."""
    metric: Metric = F1

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean binary cross-entropy in nats.

        Raises:
            UserError: outputs and targets do not fit each other.
        """
        logits, labels = _checked(outputs, targets)
        weights = self.class_weights
        if weights is not None and len(weights) != logits.shape[1]:
            raise UserError(f"`task.class_weights` ({len(weights)} numbers) must be one per label of {logits.shape[1]}")
        factor = None if weights is None else torch.tensor(weights, dtype=logits.dtype, device=logits.device)
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), pos_weight=factor)

    def meter(self) -> "MultilabelMeter":
        """Return a meter that has seen no batch."""
        return MultilabelMeter()


class MultilabelMeter:
    """Counts labels that are right, missed and wrong; a label is predicted where its logit is above 0."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._counts: Tensor | None = None
        self._whole = self._items = 0

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in logits (batch, labels) and targets (batch, labels) of 0 and 1."""
        logits, labels = _checked(outputs, targets)
        predicted, true = logits > 0, labels > 0.5
        counts = torch.stack([(predicted & true).sum(0), (predicted & ~true).sum(0), (~predicted & true).sum(0)])
        self._counts = counts if self._counts is None else self._counts + counts
        self._whole += int((predicted == true).all(1).sum())
        self._items += len(labels)

    def compute(self) -> dict[str, float]:
        """Return, in percent, `f1` of all labels taken together, `f1_macro`, the mean over labels, and `exact`, items of which
        every label is right. F1 is 0 where no label is predicted and none is true, as in scikit-learn.
        """
        if self._counts is None:
            raise UserError("there is nothing to measure: the meter has seen no batch")
        right, wrong, missed = self._counts.double().cpu()
        each = [_f1(*counts) for counts in zip(right.tolist(), wrong.tolist(), missed.tolist(), strict=True)]
        together = _f1(float(right.sum()), float(wrong.sum()), float(missed.sum()))
        return {"f1": together, "f1_macro": sum(each) / len(each), "exact": 100 * self._whole / self._items}

    def per_class(self) -> list[float | None]:
        """Return the F1 of each label, in percent."""
        if self._counts is None:
            raise UserError("there is nothing to measure: the meter has seen no batch")
        return [_f1(*counts) for counts in zip(*self._counts.double().cpu().tolist(), strict=True)]


def _f1(right: float, wrong: float, missed: float) -> float:
    return 100 * 2 * right / (2 * right + wrong + missed) if right else 0.0


def _checked(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    logits, labels = check_tensor("network's output", outputs), check_tensor("targets", targets)
    if logits.dim() != 2 or logits.shape != labels.shape:
        raise UserError(
            f"the network's output (of shape {tuple(logits.shape)}) and the targets (of shape {tuple(labels.shape)}) must be "
            "(batch, labels) for `task.name` (='multilabel')"
        )
    return logits, labels
