"""The training loop."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fourfold.data import Splits
from fourfold.record import EarlyStopping, Epoch, TrainSpec
from fourfold.train.evaluation import Evaluation, evaluate
from fourfold.train.fastest import fastest_evaluation, fastest_steps, in_epochs
from fourfold.train.precision import in_precision
from fourfold.train.ranks import ALONE, Ranks
from fourfold.train.sparse_steps import SparseSteps
from fourfold.train.steps import Steps, rates


class TrainingFailedError(Exception):
    """The loss is no longer a number; the message says in which epoch."""


class OutOfTimeError(Exception):
    """The time budget does not allow another epoch."""


OnStep = Callable[[int], Mapping[str, Tensor] | None]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of a training."""

    epochs: tuple[Epoch, ...]
    test: Evaluation
    """Of the weights that training ended with (after early stopping: the best ones)."""
    validation: Evaluation | None
    """Of the same weights, on the held-out images; None where there are none."""
    steps: int
    """Optimiser steps taken."""
    engine: str
    """What took them."""
    memory_format: str
    """Of the images: `contiguous` or `channels_last`."""
    compiler: str | None
    """Of the native code that took them; None where PyTorch did."""
    moments: dict[str, Tensor]
    """The optimiser's averages in the end, by parameter (see `Steps.moments`)."""


@in_precision
def train(
    network: nn.Module,
    splits: Splits,
    spec: TrainSpec,
    *,
    seed_of_epoch: Callable[[int], int],
    weights: Mapping[str, Tensor] | None = None,
    masks: Mapping[str, Tensor] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    first_step: int = 0,
    moments: Mapping[str, Tensor] | None = None,
    on_step: OnStep | None = None,
    ranks: Ranks = ALONE,
) -> Trained:
    """Train a network in place, and measure it on the test set after every epoch.

    The test set decides nothing: with early stopping the validation set does, and the accuracies of the epochs are there
    to be looked at.

    Args:
        network: On the device of the images.
        splits: Its training, validation and test images.
        spec: How to train.
        seed_of_epoch: The seed of an epoch's order and augmentation.
        weights: The weights that `masks` prunes; after every optimiser step the pruned ones are exactly zero.
        masks: True where a weight is kept, by the names of `weights`; None prunes nothing.
        on_epoch: Called with each point of the training curve; it may raise `OutOfTimeError`.
        first_step: Steps at the beginning of the schedule, its images included, that the network has behind it.
        moments: The optimiser's averages to go on with; None starts from none.
        on_step: Called after every step with the number of steps since the beginning of the schedule; the masks that it
            may return prune the network from then on.
        ranks: The processes that train the network together, each calling this with equal arguments.

    Raises:
        ValueError: `first_step` leaves no step to take.
        UserError: the device does not compute in the spec's precision.
        TrainingFailedError: the loss became nan or infinite.
    """
    per_epoch = steps_per_epoch(len(splits.train), spec.batch_size)
    if not 0 <= first_step < spec.epochs * per_epoch:
        raise ValueError(f"`first_step` (={first_step}) must lie in [0, {spec.epochs * per_epoch}), the steps of the training")
    steps = fastest_steps(
        network, spec, weights or {}, masks or {}, splits.train, moments, one_by_one=on_step is not None, ranks=ranks
    )
    epochs = in_epochs(steps, splits.train, spec.batch_size, ranks)
    evaluate_test = fastest_evaluation(steps, network, splits.test, ranks)
    stopper = None
    if spec.early_stopping:
        assert splits.validation is not None, "Spec asks for validation images wherever it asks for early stopping"
        validate = fastest_evaluation(steps, network, splits.validation, ranks)
        stopper = _Stopper(network, validate, spec.early_stopping)
    curve: list[Epoch] = []
    for epoch in range(first_step // per_epoch, spec.epochs):
        network.train()
        first = max(0, first_step - epoch * per_epoch)
        epochs.begin(seed_of_epoch(epoch), rates(spec, epoch, per_epoch), first)
        while epochs.left and not (stopper and stopper.stopped):
            summed = epochs.go_on(1 if on_step else stopper.until_look(steps) if stopper else epochs.left)
            if on_step and (changed := on_step(first_step + steps.taken)) is not None:
                assert isinstance(steps, Steps)
                steps.prune(weights or {}, changed)
            if stopper:
                stopper.look(steps)
        steps.put_back()
        test = evaluate_test()
        train_loss = ranks.sum(summed).sum().item() / epochs.seen
        for name, value in (("training", train_loss), ("test", test.loss)):
            if not math.isfinite(value):
                raise TrainingFailedError(f"the {name} loss became {value:g} in epoch {epoch + 1}")
        curve.append(Epoch(epoch=epoch + 1, train_loss=train_loss, top1=test.top1, loss=test.loss))
        on_epoch(curve[-1])
        if stopper and stopper.stopped:
            break
    if stopper:
        stopper.restore()
        test = evaluate(network, splits.test, ranks)
    return Trained(
        epochs=tuple(curve),
        test=test,
        validation=evaluate(network, splits.validation, ranks) if splits.validation else None,
        steps=steps.taken,
        engine=steps.engine,
        memory_format=splits.train.memory_format,
        compiler=steps.compiler,
        moments=steps.moments(),
    )


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the optimiser steps of an epoch; the last batch may be smaller."""
    return math.ceil(images / batch_size)


class _Stopper:
    """Looks at the validation loss now and then, and keeps the weights of its minimum."""

    def __init__(self, network: nn.Module, validate: Callable[[], Evaluation], spec: EarlyStopping) -> None:
        self.network, self.validate, self.spec = network, validate, spec
        self.best_loss = math.inf
        self.best_state: dict[str, Any] | None = None
        self.waited = 0

    @property
    def stopped(self) -> bool:
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
