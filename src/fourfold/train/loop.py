"""The training loop."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.data import Resident, Splits
from fourfold.record import EarlyStopping, Epoch, TrainSpec
from fourfold.train.evaluation import Evaluation, evaluate


class TrainingFailedError(Exception):
    """The loss is no longer a number; the message says in which epoch."""


class OutOfTimeError(Exception):
    """The time budget does not allow another epoch."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of a training."""

    epochs: tuple[Epoch, ...]
    test: Evaluation
    """Of the weights that training ended with (after early stopping: the best ones)."""
    steps: int
    """Optimiser steps taken."""


def train(
    network: nn.Module,
    splits: Splits,
    spec: TrainSpec,
    *,
    seed_of_epoch: Callable[[int], int],
    weights: Mapping[str, Tensor] | None = None,
    masks: Mapping[str, Tensor] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Trained:
    """Train a network in place, and measure it on the test set after every epoch.

    Args:
        network: On the device of the images.
        splits: Its training, validation and test images.
        spec: How to train.
        seed_of_epoch: The seed of an epoch's order and augmentation.
        weights: The weights that `masks` prunes; after every optimiser step the pruned ones are exactly zero.
        masks: True where a weight is kept, by the names of `weights`; None prunes nothing.
        on_epoch: Called with each point of the training curve; it may raise `OutOfTimeError`.

    Raises:
        TrainingFailedError: the loss became nan or infinite.
    """
    optimizer = _optimizer(network, spec)
    pruned, keep = _maskers(weights or {}, masks or {})
    stopper = _Stopper(network, splits.validation, spec.early_stopping) if spec.early_stopping else None
    curve: list[Epoch] = []
    steps = 0
    torch._foreach_mul_(pruned, keep) if pruned else None
    for epoch in range(spec.epochs):
        for group in optimizer.param_groups:
            group["lr"] = spec.learning_rate * spec.decay ** sum(epoch >= milestone for milestone in spec.milestones)
        network.train()
        summed = torch.zeros((), dtype=torch.float64, device=splits.train.labels.device)
        seen = 0
        for images, labels in splits.train.epoch(spec.batch_size, seed_of_epoch(epoch)):
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(network(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if pruned:
                torch._foreach_mul_(pruned, keep)
            summed += loss.detach() * len(labels)
            seen += len(labels)
            steps += 1
            if stopper and stopper.looks(steps):
                break
        test = evaluate(network, splits.test)
        train_loss = summed.item() / seen
        for name, value in (("training", train_loss), ("test", test.loss)):
            if not math.isfinite(value):
                raise TrainingFailedError(f"the {name} loss became {value:g} in epoch {epoch + 1}")
        curve.append(Epoch(epoch=epoch + 1, train_loss=train_loss, top1=test.top1, loss=test.loss))
        on_epoch(curve[-1])
        if stopper and stopper.stopped:
            break
    if stopper:
        stopper.restore()
        test = evaluate(network, splits.test)
    return Trained(epochs=tuple(curve), test=test, steps=steps)


def _optimizer(network: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if spec.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters,
        lr=spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        weight_decay=spec.weight_decay,
        fused=True,
    )


def _maskers(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The weights in which something is pruned, and for each a factor of zeros and ones."""
    if set(masks) - set(weights):
        raise ValueError(f"`masks` name {sorted(set(masks) - set(weights))}, which `weights` do not have")
    names = [name for name in masks if not bool(masks[name].all())]
    return [weights[name].detach() for name in names], [masks[name].to(weights[name].dtype) for name in names]


class _Stopper:
    """Looks at the validation loss now and then, and keeps the weights of its minimum."""

    def __init__(self, network: nn.Module, validation: Resident | None, spec: EarlyStopping) -> None:
        assert validation is not None, "Spec asks for validation images wherever it asks for early stopping"
        self.network, self.validation, self.spec = network, validation, spec
        self.best_loss = math.inf
        self.best_state: dict[str, Any] | None = None
        self.waited = 0

    @property
    def stopped(self) -> bool:
        return self.waited >= self.spec.patience

    def looks(self, steps: int) -> bool:
        """Look if it is time to; return whether training must end."""
        if steps % self.spec.every == 0:
            loss = evaluate(self.network, self.validation).loss
            if loss < self.best_loss:
                self.best_loss, self.best_state, self.waited = loss, copy.deepcopy(self.network.state_dict()), 0
            else:
                self.waited += 1
        return self.stopped

    def restore(self) -> None:
        """Take back the best weights seen; training that ended before the first look keeps its last ones."""
        if self.best_state is not None:
            self.network.load_state_dict(self.best_state)
