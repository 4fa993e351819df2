"""Accuracy and loss of a network on a whole set of images."""

from dataclasses import dataclass

import torch
from torch import nn

from fourfold.data import Resident

BATCH_SIZE = 500
"""Images at a time: large enough to keep a GPU busy, small enough for the widest maps of ResNets."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a network reaches on a set."""

    top1: float
    """Accuracy in percent."""
    top5: float | None
    """Images whose class is among the five likeliest, in percent; None below 100 classes."""
    loss: float
    """Mean cross-entropy in nats."""


def evaluate(network: nn.Module, images: Resident) -> Evaluation:
    """Evaluate in inference mode (running statistics of batch norm); each module's mode is restored."""
    was_training = [module for module in network.modules() if module.training]
    network.eval()
    right1, right5, loss = [torch.zeros((), dtype=torch.float64, device=images.labels.device) for _ in range(3)]
    num_classes = 0
    with torch.no_grad():
        for batch, labels in images.batches(BATCH_SIZE):
            logits = network(batch)
            num_classes = logits.shape[1]
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
            right1 += (logits.argmax(1) == labels).sum()
            if num_classes >= 100:
                right5 += (logits.topk(5).indices == labels.unsqueeze(1)).sum()
    for module in was_training:
        module.training = True
    count = len(images)
    return Evaluation(
        top1=100 * right1.item() / count,
        top5=100 * right5.item() / count if num_classes >= 100 else None,
        loss=loss.item() / count,
    )
