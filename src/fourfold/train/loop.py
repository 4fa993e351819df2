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
from fourfold.train.sparse_steps import sparse_steps
from fourfold.train.steps import Steps


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
    compiler: str | None
    """Of the native code that took them; None where PyTorch did."""


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
    steps = sparse_steps(network, spec, masks or {}) or Steps(network, spec, weights or {}, masks or {})
    stopper = _Stopper(network, splits.validation, spec.early_stopping) if spec.early_stopping else None
    curve: list[Epoch] = []
    for epoch in range(spec.epochs):
        steps.learning_rate = spec.learning_rate * spec.decay ** sum(epoch >= milestone for milestone in spec.milestones)
        network.train()
        summed = torch.zeros((), dtype=torch.float64, device=splits.train.labels.device)
        seen = 0
        for images, labels in splits.train.epoch(spec.batch_size, seed_of_epoch(epoch)):
            summed += steps.take(images, labels) * len(labels)
            seen += len(labels)
            if stopper and stopper.looks(steps.taken):
                break
        steps.put_back()
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
    return Trained(epochs=tuple(curve), test=test, steps=steps.taken, compiler=steps.compiler)


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
