"""The loss that scores with derivatives look at: cross-entropy where the network is a classifier, else the user's own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fourfold.record import UserError

Loss = Callable[[Any, Any], Tensor]
"""From the network's outputs and the labels to the mean loss of a batch, a scalar."""

IGNORED = -100
"""The label that torch's cross-entropy leaves out."""

_OWN = "or give a `loss` of outputs and labels"


def cross_entropy(outputs: Any, labels: Any) -> Tensor:
    """Return the mean cross-entropy of a classifier.

    Shapes: outputs (batch, classes, …), labels (batch, …) of classes, or probabilities in the shape of the outputs → scalar.

    Raises:
        UserError: outputs or labels are not those of a classifier over several classes.
    """
    if not isinstance(outputs, Tensor):
        raise UserError(f"the model returns a {type(outputs).__name__}: it must return a tensor of logits, {_OWN}")
    if not isinstance(labels, Tensor):
        raise UserError(f"`labels` (={type(labels).__name__}) must be a tensor of classes, {_OWN}")
    shape = tuple(outputs.shape)
    if outputs.dim() < 2 or outputs.shape[1] < 2:
        raise UserError(f"the model's outputs have shape {shape}: they must be logits of two classes at least, {_OWN}")
    if labels.is_floating_point():
        if labels.shape != outputs.shape or not _are_probabilities(labels):
            raise UserError(
                f"`labels` ({_type(labels)}) must be classes, or probabilities in the shape {shape} of logits, {_OWN}"
            )
        return F.cross_entropy(outputs, labels)
    if labels.shape != outputs.shape[:1] + outputs.shape[2:]:
        expected = (shape[0], *shape[2:])
        raise UserError(f"`labels` (of shape {tuple(labels.shape)}) must have shape {expected} for logits {shape}, {_OWN}")
    labels = labels.long()
    counted = labels[labels != IGNORED]
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < shape[1]:
        wrong = counted[(counted < 0) | (counted >= shape[1])][0]
        raise UserError(f"`labels` (={int(wrong)}) must lie in [0, {shape[1]}), the classes of the model's outputs")
    return F.cross_entropy(outputs, labels)


def checked(loss: Any) -> Tensor:
    """Return a loss that can be derived.

    Raises:
        UserError: it is no finite scalar, or does not depend on the weights.
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        kind = f"of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise UserError(f"`loss` returns a value {kind}: it must be a scalar tensor, the mean over the batch")
    if not loss.requires_grad:
        raise UserError("the loss does not depend on the weights: the model or `loss` detaches what it computes")
    if not bool(loss.isfinite()):
        raise UserError(f"the loss (={float(loss.detach())}) must be finite, else no weight has a rank")
    return loss.reshape(())


def _are_probabilities(labels: Tensor) -> bool:
    sums = labels.double().sum(1)
    return bool((labels >= 0).all()) and bool(torch.isclose(sums, torch.ones_like(sums), atol=1e-2).all())


def _type(labels: Tensor) -> str:
    return f"{str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
