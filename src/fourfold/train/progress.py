"""How far a training has come: its epoch and step, its curve and its early stopping, all of which a checkpoint restores."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.record import EarlyStopping, Epoch, TrainSpec
from fourfold.train.checkpoint import Checkpoint, Generators
from fourfold.train.engines import Engine


class Stopper:
    """Early stopping: evaluates the validation loss every few steps, and keeps the weights of its minimum."""

    def __init__(self, network: nn.Module, engine: Engine, spec: EarlyStopping) -> None:
        self.network, self.engine, self.spec = network, engine, spec
        self.best_loss = math.inf
        self.best_state: dict[str, Any] | None = None
        self.waited = 0

    @property
    def stopped(self) -> bool:
        """Whether the training is over."""
        return self.waited >= self.spec.patience

    def steps_left(self, steps: int) -> int:
        """Return the steps until the next look, after so many optimiser steps."""
        return self.spec.every - steps % self.spec.every

    def look(self, steps: int) -> None:
        """Evaluate the validation loss if it is time to."""
        if steps % self.spec.every:
            return
        self.engine.sync()
        loss = self.engine.evaluate("validation").loss
        if loss < self.best_loss:
            self.best_loss, self.best_state, self.waited = loss, copy.deepcopy(self.network.state_dict()), 0
        else:
            self.waited += 1

    def restore(self) -> None:
        """Restore the best weights; training that ended before the first look keeps its last ones."""
        if self.best_state is not None:
            self.network.load_state_dict(self.best_state)


class Progress:
    """Where a training is, and what its engine still has to do.

    Args:
        network: What is trained.
        engine: What trains it.
        stopper: Early stopping; None where there is none.
        spec: How it is trained.
        images: Of an epoch.
        first_step: Steps at the beginning of the schedule that are left out.
        until_step: The step of the schedule at which the training ends.
    """

    def __init__(
        self,
        network: nn.Module,
        engine: Engine,
        stopper: Stopper | None,
        spec: TrainSpec,
        images: int,
        first_step: int,
        until_step: int,
    ) -> None:
        self._network, self._engine, self._stopper, self._spec, self._images = network, engine, stopper, spec, images
        self._per_epoch, self._until = steps_per_epoch(images, spec.batch_size), until_step
        self._device = next(iter(network.parameters())).device
        self._generators = Generators(self._device, {})
        self._loss: Tensor | None = None
        """Sum of the losses of the epoch that a checkpoint resumes in."""
        self._inside = False
        """Whether an epoch has begun and is not yet evaluated."""
        self.epoch, self._first = divmod(first_step, self._per_epoch)
        """The epoch of the next step, from 0."""
        self._next = self._first
        self.steps = 0
        """Optimiser steps of this training."""
        self.curve: list[Epoch] = []
        """Of the epochs that are over."""

    @property
    def step(self) -> int:
        """Steps since the beginning of the schedule, those that were left out included."""
        return self.epoch * self._per_epoch + self._next

    @property
    def left(self) -> int:
        """Steps of the epoch that are still to be taken."""
        return 0 if self._stopped else min(self._per_epoch - self._next, self._until - self.step)

    @property
    def cut_short(self) -> bool:
        """Whether the training ends inside the epoch, by `until_step`."""
        return not self._stopped and self._next < self._per_epoch and self.step == self._until

    @property
    def ended(self) -> bool:
        """Whether the training is over."""
        return not self._inside and (self._stopped or self.step >= self._until)

    @property
    def mean_loss(self) -> float:
        """Mean loss of the epoch's images so far, each before its step."""
        images = min(self._next * self._spec.batch_size, self._images) - self._first * self._spec.batch_size
        return self._engine.loss().sum().item() / images

    def begin_epoch(self, seed_of_epoch: Callable[[int], int]) -> None:
        """Begin the epoch, or resume it where the checkpoint was."""
        rates = learning_rates(self._spec, self.epoch, self._per_epoch)
        self._engine.begin(seed_of_epoch(self.epoch), rates, self._next, self._loss)
        self._loss, self._inside = None, True

    def count(self, steps: int) -> None:
        """Count steps that the engine has taken."""
        self._next += steps
        self.steps += steps

    def end_epoch(self, point: Epoch) -> None:
        """Count the epoch as over."""
        self.curve.append(point)
        self.epoch, self._first, self._next, self._inside = self.epoch + 1, 0, 0, False

    def checkpoint(self) -> Checkpoint:
        """Return where the training is; its tensors are those that training continues in. All ranks call this together."""
        self._engine.sync()
        tensors = {f"network/{name}": tensor.detach() for name, tensor in self._network.state_dict().items()}
        tensors |= {f"moments/{name}": tensor for name, tensor in self._engine.optimizer_state(copy=False).items()}
        tensors |= {f"generator/{name}": state for name, state in self._generators.used().items()}
        if self._inside:
            tensors["loss"] = self._engine.loss()
        if self._stopper and self._stopper.best_state is not None:
            tensors |= {f"best/{name}": tensor for name, tensor in self._stopper.best_state.items()}
        return Checkpoint(
            epoch=self.epoch,
            first=self._first,
            step=self._next,
            steps=self._per_epoch,
            epochs=self._spec.epochs,
            taken=self.steps,
            curve=tuple(self.curve),
            best_loss=self._stopper.best_loss if self._stopper else math.inf,
            waited=self._stopper.waited if self._stopper else 0,
            tensors=tensors,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume from a checkpoint whose network and optimiser state the engine was given."""
        self.epoch, self._first, self._next = checkpoint.epoch, checkpoint.first, checkpoint.step
        self.steps, self.curve = checkpoint.taken, list(checkpoint.curve)
        self._loss = checkpoint.tensors.get("loss")
        self._inside = self._loss is not None
        self._generators = Generators(self._device, checkpoint.below("generator/"))
        if self._stopper:
            self._stopper.best_loss, self._stopper.waited = checkpoint.best_loss, checkpoint.waited
            self._stopper.best_state = checkpoint.below("best/") or None

    @property
    def _stopped(self) -> bool:
        return self._stopper is not None and self._stopper.stopped


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the optimiser steps of an epoch; the last batch may be smaller."""
    return math.ceil(images / batch_size)


def learning_rates(spec: TrainSpec, epoch: int, steps: int) -> Tensor:
    """Return the learning rates of an epoch's steps, float64 (steps,)."""
    whole = spec.epochs * steps
    return torch.tensor([spec.rate(epoch * steps + number, epoch, whole) for number in range(steps)], dtype=torch.float64)
