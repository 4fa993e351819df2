"""Accuracy and loss of a network on a whole set of images."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

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
    found = no_counts(images)
    with evaluating(network):
        mine = found[ranks.rank :: ranks.world]
        for row, (batch, labels) in zip(mine, images.batches(BATCH_SIZE, ranks.rank, ranks.world), strict=True):
            row.copy_(counts(network, batch, labels))
    return evaluation(ranks.sum(found), len(images))  # a sum of zeros and one number: nothing is rounded


def no_counts(images: Resident) -> Tensor:
    """Return the counts of every batch of the set, float64 (batches, 4) on its device, before there are any."""
    return torch.zeros(-(-len(images) // BATCH_SIZE), 4, dtype=torch.float64, device=images.labels.device)


def counts(network: nn.Module, batch: Tensor, labels: Tensor) -> Tensor:
    """Return of one batch: images that are right, those among the five likeliest, the sum of losses, and the classes."""
    logits = network(batch)
    right1 = (logits.argmax(1) == labels).sum()
    right5 = (logits.topk(5).indices == labels.unsqueeze(1)).sum() if logits.shape[1] >= 100 else torch.zeros_like(right1)
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
    return torch.stack([right1.double(), right5.double(), loss.double(), torch.full_like(loss, logits.shape[1]).double()])


def evaluation(found: Tensor, images: int) -> Evaluation:
    """Return what the counts (batches, 4) of all batches of so many images say."""
    right1, right5, loss, _ = reduce(torch.add, found).tolist()  # in the order of the batches
    return Evaluation(
        top1=100 * right1 / images,
        top5=100 * right5 / images if found[0, 3] >= 100 else None,
        loss=loss / images,
    )


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Keep a network in inference mode, without gradients; each module's mode is restored."""
    was_training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in was_training:
            module.training = True
