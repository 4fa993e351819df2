"""The loop that everybody writes first: a data set of single images, a `DataLoader`, an optimiser, masks after each step.

It computes what `fourfold.train` does and is here to be measured against, in the form of open_lth's and the papers' code.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fourfold import data
from fourfold.data.trees import mapped
from fourfold.parts import components
from fourfold.record import Spec, TrainSpec
from fourfold.tasks import Task, values_of
from fourfold.train.engines.optimizer import optimizer_class
from fourfold.train.evaluation import forward


class Items(Dataset[tuple[Tensor, Tensor]]):
    """Images one at a time: cropped, flipped, scaled and encoded as they are asked for.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
        spec: The experiment whose network sees them.
        augment: Whether its crops and flips are applied, from torch's global state as usual.
    """

    def __init__(self, images: Tensor, labels: Tensor, spec: Spec, augment: bool) -> None:
        info = data.info(spec.data.name)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in data.normalization(spec.inputs, info))
        self.images, self.labels, self.mean, self.std = images, labels, mean, std
        self.spec, self.n = spec.inputs, components(spec)
        self.channels = data.encoded_channels(spec.inputs, info, self.n)
        self.augment = augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an image float32 (C, H, W) and its label."""
        image = self.images[index]
        if self.augment and self.spec.crop:
            padded = F.pad(image, (self.spec.crop,) * 4)
            top, left = torch.randint(0, 2 * self.spec.crop + 1, (2,)).tolist()
            image = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
        if self.augment and self.spec.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        image = (image.float() / 255 - self.mean) / self.std
        if self.spec.encoding == "pixels":
            colours, height, width = image.shape
            numbers = image.view(colours, height, width // self.n, self.n)
            return numbers.permute(3, 0, 1, 2).reshape(self.n * colours, height, -1), self.labels[index]
        extra = torch.zeros(self.channels - len(image), *image.shape[1:])
        if self.spec.encoding == "grey":
            extra[0] = sum(weight * colour for weight, colour in zip(data.GREY, image, strict=True))
        return torch.cat([image, extra]) if len(extra) else image, self.labels[index]


class OwnItems(Dataset[Any]):
    """Items of the user's own one at a time, as an experiment's network takes them.

    Args:
        split: All of them.
        augment: Whether they are cropped, flipped and changed at random.
    """

    def __init__(self, split: data.Resident, augment: bool) -> None:
        self._split, self._order = split, split.order(0, augment)

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Any:
        """Return the inputs and targets of an item."""
        return mapped(lambda leaf: leaf[0], self._split.batch(self._order, slice(index, index + 1)))


def loader(items: Dataset[Any], batch_size: int, shuffle: bool) -> DataLoader[Any]:
    """Return the usual loader, in the process that trains: workers would take cores that other trials could have."""
    return DataLoader(items, batch_size=batch_size, shuffle=shuffle)


def optimizer(network: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    """Return the spec's optimiser with torch's default settings."""
    if spec.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    if spec.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=spec.learning_rate,
            momentum=spec.momentum,
            nesterov=spec.nesterov,
            weight_decay=spec.weight_decay,
        )
    return optimizer_class(spec)(network.parameters(), lr=spec.learning_rate, **spec.arguments)  # type: ignore[call-arg]


def step(
    network: nn.Module,
    taker: torch.optim.Optimizer,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    inputs: Any,
    targets: Any,
    task: Task | None = None,
) -> float:
    """Take an optimiser step, set the pruned weights to zero, and return the loss; without a task, of classes."""
    taker.zero_grad()
    loss = (F.cross_entropy if task is None else task.loss)(forward(network, inputs), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    taker.step()
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])
    return loss.item()


def evaluate(network: nn.Module, batches: DataLoader[Any], device: torch.device, task: Task | None = None) -> float:
    """Return the accuracy in percent, or the metric of a task."""
    network.eval()
    right = total = 0
    meter = None if task is None else task.meter()
    with torch.no_grad():
        for batch in batches:
            inputs, targets = mapped(lambda leaf: leaf.to(device), tuple(batch))
            if meter is not None:
                meter.update(forward(network, inputs), targets)
                continue
            right += int((network(inputs).argmax(1) == targets).sum())
            total += len(targets)
    network.train()
    return 100 * right / total if meter is None or task is None else values_of(meter, task.metric)[task.metric.name]
