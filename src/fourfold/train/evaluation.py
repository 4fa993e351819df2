"""Accuracy and loss of a network on a whole set of images."""

from dataclasses import dataclass
from functools import reduce

import torch
from torch import nn

from fourfold.data import Resident
from fourfold.train.ranks import ALONE, Ranks

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


def evaluate(network: nn.Module, images: Resident, ranks: Ranks = ALONE) -> Evaluation:
    """Evaluate in inference mode (running statistics of batch norm); each module's mode is restored.

    Every rank evaluates some of the batches, and all learn the same result, which is that of one process.
    """
    was_training = [module for module in network.modules() if module.training]
    network.eval()
    # Of each batch: images that are right, those among the five likeliest, the sum of losses, and the classes.
    found = torch.zeros(-(-len(images) // BATCH_SIZE), 4, dtype=torch.float64, device=images.labels.device)
    with torch.no_grad():
        mine = found[ranks.rank :: ranks.world]
        for row, (batch, labels) in zip(mine, images.batches(BATCH_SIZE, ranks.rank, ranks.world), strict=True):
            logits = network(batch)
            row[0] = (logits.argmax(1) == labels).sum()
            if logits.shape[1] >= 100:
                row[1] = (logits.topk(5).indices == labels.unsqueeze(1)).sum()
            row[2] = nn.functional.cross_entropy(logits, labels, reduction="sum")
            row[3] = logits.shape[1]
    for module in was_training:
        module.training = True
    found = ranks.sum(found)  # of zeros and one number: nothing is rounded
    right1, right5, loss, _ = reduce(torch.add, found).tolist()  # in the order of the batches
    count = len(images)
    return Evaluation(
        top1=100 * right1 / count,
        top5=100 * right5 / count if found[0, 3] >= 100 else None,
        loss=loss / count,
    )
