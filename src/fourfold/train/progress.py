"""How far a training has come: its epoch and step, its curve and its early stopping, all of which a checkpoint restores."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.record import EarlyStopping, Epoch, TrainSpec
from fourfold.train.captured import CapturedSteps
from fourfold.train.checkpoint import Checkpoint, Generators
from fourfold.train.evaluation import Evaluation
from fourfold.train.ranks import Ranks
from fourfold.train.sparse_epochs import SparseEpochs
from fourfold.train.sparse_steps import SparseSteps
from fourfold.train.steps import EachStep, Steps, rates


class Stopper:
    """Looks at the validation loss now and then, and keeps the weights of its minimum."""

    def __init__(self, network: nn.Module, validate: Callable[[], Evaluation], spec: EarlyStopping) -> None:
        self.network, self.validate, self.spec = network, validate, spec
        self.best_loss = math.inf
        self.best_state: dict[str, Any] | None = None
        self.waited = 0

    @property
    def stopped(self) -> bool:
        """Whether the training is over."""
        return self.waited >= self.spec.patience

    def until_look(self, steps: Steps | SparseSteps) -> int:
        """Return the steps to take until it is time to look."""
        return self.spec.every - steps.taken % self.spec.every

    def look(self, steps: Steps | SparseSteps) -> None:
        """Look, if it is time to."""
        if steps.taken % self.spec.every:
            return
        steps.put_back()
        loss = self.validate().loss
        if loss < self.best_loss:
            self.best_loss, self.best_state, self.waited = loss, copy.deepcopy(self.network.state_dict()), 0
        else:
            self.waited += 1

    def restore(self) -> None:
        """Take back the best weights seen; training that ended before the first look keeps its last ones."""
        if self.best_state is not None:
            self.network.load_state_dict(self.best_state)


class Progress:
    """Where a training is.

    Args:
        network: What is trained.
        steps: What trains it.
        epochs: What takes the steps, epoch by epoch.
        stopper: Early stopping; None where there is none.
        num_epochs: Of the training.
        first_step: Steps at the beginning of the schedule that are left out.
        ranks: The processes that train together.
    """

    def __init__(
        self,
        network: nn.Module,
        steps: Steps | SparseSteps,
        epochs: EachStep | CapturedSteps | SparseEpochs,
        stopper: Stopper | None,
        num_epochs: int,
        first_step: int,
        ranks: Ranks,
    ) -> None:
        self._network, self._steps, self._epochs, self._stopper, self._ranks = network, steps, epochs, stopper, ranks
        self._num_epochs, self._per_epoch = num_epochs, epochs.left
        self._device = next(iter(network.parameters())).device
        self._generators = Generators(self._device, {})
        self._resumed: Checkpoint | None = None
        self._inside = False
        self.epoch, self._first = divmod(first_step, self._per_epoch)
        """The epoch of the next step, from 0."""
        self.curve: list[Epoch] = []
        """Of the epochs that are over."""

    @property
    def stopped(self) -> bool:
        """Whether early stopping has ended the training."""
        return self._stopper is not None and self._stopper.stopped

    @property
    def ended(self) -> bool:
        """Whether the training is over."""
        return self.epoch == self._num_epochs or (self.stopped and not self._inside and self._resumed is None)

    def begin(self, seed_of_epoch: Callable[[int], int], spec: TrainSpec) -> None:
        """Begin the epoch, or go on with it where the checkpoint was."""
        self._epochs.begin(seed_of_epoch(self.epoch), rates(spec, self.epoch, self._per_epoch), self._first)
        if self._resumed:
            self._epochs.skip(self._resumed.step, self._my_loss(self._resumed.tensors["loss"]))
            self._resumed = None
        self._inside = True

    def end_epoch(self, point: Epoch) -> None:
        """Count the epoch as over."""
        self.curve.append(point)
        self.epoch, self._first, self._inside = self.epoch + 1, 0, False

    def checkpoint(self) -> Checkpoint:
        """Return where the training is; its tensors are those that training continues in. All ranks call this together."""
        self._steps.put_back()
        tensors = {f"network/{name}": tensor.detach() for name, tensor in self._network.state_dict().items()}
        tensors |= {f"moments/{name}": tensor for name, tensor in self._steps.moments(copy=False).items()}
        tensors |= {f"generator/{name}": state for name, state in self._generators.used().items()}
        first = step = self._first
        if self._inside:
            first, step = self._epochs.place
            tensors["loss"] = self._ranks.sum(self._epochs.loss)
        if self._stopper and self._stopper.best_state is not None:
            tensors |= {f"best/{name}": tensor for name, tensor in self._stopper.best_state.items()}
        return Checkpoint(
            epoch=self.epoch,
            first=first,
            step=step,
            steps=self._per_epoch,
            epochs=self._num_epochs,
            taken=self._steps.taken,
            curve=tuple(self.curve),
            best_loss=self._stopper.best_loss if self._stopper else math.inf,
            waited=self._stopper.waited if self._stopper else 0,
            tensors=tensors,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint whose network and moments the steps were made of."""
        self._steps.resume(checkpoint.taken)
        self.epoch, self._first, self.curve = checkpoint.epoch, checkpoint.first, list(checkpoint.curve)
        self._resumed = checkpoint if "loss" in checkpoint.tensors else None
        self._generators = Generators(self._device, checkpoint.below("generator/"))
        if self._stopper:
            self._stopper.best_loss, self._stopper.waited = checkpoint.best_loss, checkpoint.waited
            self._stopper.best_state = checkpoint.below("best/") or None

    def _my_loss(self, loss: Tensor) -> Tensor:
        """Return this rank's part of a sum of losses: those of its own parts of the batches."""
        if self._ranks.alone:
            return loss.sum()
        mine = torch.zeros(self._ranks.parts, dtype=loss.dtype)
        if loss.shape == mine.shape:
            mine[self._ranks.mine] = loss[self._ranks.mine]
        elif self._ranks.first:
            mine[0] = loss.sum()  # it was saved by another number of processes
        return mine
