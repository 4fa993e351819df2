"""Accuracy and loss of a network on a whole set of images."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.data import Resident
from fourfold.data.trees import leaves
from fourfold.tasks import Meter, Task, values_of
from fourfold.train.ranks import ALONE, Ranks

BATCH_SIZE = 500
"""Images at a time: large enough to keep a GPU busy, small enough for the widest maps of ResNets."""


MOST_VALUES = 2**25
"""Of the inputs of a batch that a task evaluates: the maps of a network have many times as many."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Accuracy and loss of a network on a split."""

    loss: float
    """Mean loss: of classification, cross-entropy in nats."""
    top1: float | None = None
    """Accuracy in percent; None for tasks that have none."""
    top5: float | None = None
    """Images whose class is among the five likeliest, in percent; None below 100 classes."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Everything that was measured, by name."""

    def __post_init__(self) -> None:
        known = {"top1": self.top1, "top5": self.top5, "loss": self.loss}
        known |= {"top1": self.metrics.get("top1", self.top1), "top5": self.metrics.get("top5", self.top5)}
        object.__setattr__(self, "top1", known["top1"])
        object.__setattr__(self, "top5", known["top5"])
        object.__setattr__(self, "metrics", self.metrics | {name: value for name, value in known.items() if value is not None})


def evaluate(network: nn.Module, images: Resident, ranks: Ranks = ALONE, task: Task | None = None) -> Evaluation:
    """Evaluate in inference mode (running statistics of batch norm); each module's mode is restored.

    Every rank evaluates some of the batches, and all learn the same result, which is that of one process.

    Args:
        network: On the device of the images.
        images: The images, or other items.
        ranks: The processes that evaluate together.
        task: What the network is asked; None is classification of images. Of others, every rank evaluates all batches.
    """
    if task is not None:
        return _by_task(network, images, task)
    totals = no_counts(images)
    with evaluating(network):
        mine = totals[ranks.rank :: ranks.world]
        for row, (batch, labels) in zip(mine, images.batches(BATCH_SIZE, ranks.rank, ranks.world), strict=True):
            row.copy_(counts(network, batch, labels))
    return evaluation_of(ranks.sum(totals), len(images))  # all but one rank add zeros, so nothing is rounded


def no_counts(images: Resident) -> Tensor:
    """Return zeros for the counts of every batch, float64 (batches, 4), on the device of the images."""
    return torch.zeros(-(-len(images) // BATCH_SIZE), 4, dtype=torch.float64, device=images.labels.device)


def counts(network: nn.Module, batch: Tensor, labels: Tensor) -> Tensor:
    """Return for one batch: correct images, those correct among the top five, the summed loss, and the number of classes."""
    logits = forward(network, batch)
    right1 = (logits.argmax(1) == labels).sum()
    right5 = (logits.topk(5).indices == labels.unsqueeze(1)).sum() if logits.shape[1] >= 100 else torch.zeros_like(right1)
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
    return torch.stack([right1.double(), right5.double(), loss.double(), torch.full_like(loss, logits.shape[1]).double()])


def evaluation_of(totals: Tensor, images: int) -> Evaluation:
    """Return the evaluation of the counts (batches, 4) of all batches of so many images."""
    right1, right5, loss, _ = reduce(torch.add, totals).tolist()  # in the order of the batches
    return Evaluation(
        top1=100 * right1 / images,
        top5=100 * right5 / images if totals[0, 3] >= 100 else None,
        loss=loss / images,
    )


def measure(network: nn.Module, items: Resident, meter: Meter) -> None:
    """Let a meter see what a network says of all items, in inference mode."""
    with evaluating(network):
        for inputs, targets in items.batches(_batch_size(items)):
            meter.update(forward(network, inputs), targets)


def _by_task(network: nn.Module, items: Resident, task: Task) -> Evaluation:
    meter = task.meter()
    loss, count = torch.zeros((), dtype=torch.float64), 0
    with evaluating(network):
        for inputs, targets in items.batches(_batch_size(items)):
            outputs = forward(network, inputs)
            samples = num_samples(targets)
            loss = loss + task.loss(outputs, targets).double().cpu() * samples
            meter.update(outputs, targets)
            count += samples
    return Evaluation(loss=loss.item() / count, metrics=values_of(meter, task.metric))


def _batch_size(items: Resident) -> int:
    """Return how many items fit into a batch of `MOST_VALUES`, at most `BATCH_SIZE`: of 448×448 pixels, 55."""
    inputs, _ = items.batch(items.in_order(), slice(0, 1))
    values: int = sum(leaf.numel() for _, leaf in leaves(inputs))
    return min(BATCH_SIZE, max(1, MOST_VALUES // max(1, values)))


def forward(network: nn.Module, inputs: Any) -> Any:
    """Return a network's outputs for inputs that are a tensor, or a dict, tuple or list of its arguments."""
    if isinstance(inputs, Mapping):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple | list) else network(inputs)


def num_samples(targets: Any) -> int:
    """Return the samples of a batch whose targets are a tensor, or a dict, tuple or list of tensors."""
    if isinstance(targets, Mapping):
        targets = next(iter(targets.values()))
    return len(targets[0] if isinstance(targets, tuple | list) else targets)


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
