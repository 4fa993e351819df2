"""The training loop."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

from torch import Tensor, nn

from fourfold.data import Splits
from fourfold.record import Epoch, TrainSpec
from fourfold.train.checkpoint import Checkpoint, Pauses, Saver
from fourfold.train.evaluation import Evaluation, evaluate
from fourfold.train.fastest import fastest_evaluation, fastest_steps, in_epochs
from fourfold.train.precision import in_precision
from fourfold.train.progress import Progress, Stopper
from fourfold.train.ranks import ALONE, Ranks
from fourfold.train.steps import Steps


class TrainingFailedError(Exception):
    """The loss is no longer a number; the message says in which epoch."""


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
    saver: Saver | None = None,
    resumed: Checkpoint | None = None,
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
        saver: Saves the training now and then, and may end it; None trains to the end.
        resumed: Where to go on; all other arguments are those of the training that was saved, but for `masks`, which are
            those that `on_step` returned last.

    Raises:
        ValueError: `first_step` leaves no step to take.
        UserError: the device does not compute in the spec's precision.
        TrainingFailedError: the loss became nan or infinite.
        OutOfTimeError: the saver has ended the training.
    """
    per_epoch = steps_per_epoch(len(splits.train), spec.batch_size)
    if not 0 <= first_step < spec.epochs * per_epoch:
        raise ValueError(f"`first_step` (={first_step}) must lie in [0, {spec.epochs * per_epoch}), the steps of the training")
    if resumed:
        network.load_state_dict(resumed.below("network/"))  # into the memory that is there, so its layout stays
        moments = resumed.below("moments/")
    steps = fastest_steps(
        network, spec, weights or {}, masks or {}, splits.train, moments, one_by_one=on_step is not None, ranks=ranks
    )
    epochs = in_epochs(steps, splits.train, spec.batch_size, ranks)
    evaluate_test = fastest_evaluation(steps, network, splits.test, ranks)
    stopper = None
    if spec.early_stopping:
        assert splits.validation is not None, "Spec asks for validation images wherever it asks for early stopping"
        validate = fastest_evaluation(steps, network, splits.validation, ranks)
        stopper = Stopper(network, validate, spec.early_stopping)
    progress = Progress(network, steps, epochs, stopper, spec.epochs, first_step, ranks)
    if resumed:
        progress.restore(resumed)
    pauses = Pauses(saver, progress.checkpoint, splits.train.device, ranks)
    test: Evaluation | None = None
    evaluation_seconds = 0.0
    while not progress.ended:
        network.train()
        progress.begin(seed_of_epoch, spec)
        while epochs.left and not progress.stopped:
            count = pauses.at_most(1 if on_step else stopper.until_look(steps) if stopper else epochs.left)
            taken = steps.taken
            epochs.go_on(count)
            if on_step and (changed := on_step(first_step + steps.taken)) is not None:
                assert isinstance(steps, Steps)
                steps.prune(weights or {}, changed)
            if stopper:
                stopper.look(steps)
            pauses.after(steps.taken - taken)
        pauses.pause(ahead_seconds=evaluation_seconds)
        start = perf_counter()
        steps.put_back()
        test = evaluate_test()
        train_loss = ranks.sum(epochs.loss).sum().item() / epochs.seen
        for name, value in (("training", train_loss), ("test", test.loss)):
            if not math.isfinite(value):
                raise TrainingFailedError(f"the {name} loss became {value:g} in epoch {progress.epoch + 1}")
        progress.end_epoch(Epoch(epoch=progress.epoch + 1, train_loss=train_loss, top1=test.top1, loss=test.loss))
        on_epoch(progress.curve[-1])
        evaluation_seconds = perf_counter() - start
        pauses.pause(epoch_ended=True, finished=progress.ended)
    if stopper:
        stopper.restore()
        test = evaluate(network, splits.test, ranks)
    return Trained(
        epochs=tuple(progress.curve),
        test=test or evaluate_test(),
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
