"""The training loop."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from torch import Tensor, nn

from fourfold.data import Splits
from fourfold.record import TOP1, Epoch, TrainSpec
from fourfold.tasks import Task
from fourfold.train.checkpoint import Checkpoint, Pauses, Saver
from fourfold.train.engines import ENGINES, Engine, Setup, start_engine
from fourfold.train.evaluation import Evaluation, evaluate
from fourfold.train.precision import in_precision
from fourfold.train.progress import Progress, Stopper, steps_per_epoch
from fourfold.train.ranks import ALONE, Ranks


class TrainingFailedError(Exception):
    """The loss, a metric or a weight became NaN or infinite; the message says in which epoch."""


OnStep = Callable[[int], Mapping[str, Tensor] | None]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of a training."""

    epochs: tuple[Epoch, ...]
    test: Evaluation
    """Of the weights that training ended with (after early stopping: the best ones)."""
    validation: Evaluation | None
    """Of the same weights, on the held-out images; None where there are none."""
    steps: int
    """Optimiser steps taken."""
    engine: str
    """Name of the engine that took them."""
    memory_format: str
    """Of the images: `contiguous` or `channels_last`."""
    compiler: str | None
    """Of the native engine; None where PyTorch took the steps."""
    moments: dict[str, Tensor]
    """State of the optimiser at the end (see `Engine.optimizer_state`)."""


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
    until_step: int | None = None,
    moments: Mapping[str, Tensor] | None = None,
    on_step: OnStep | None = None,
    ranks: Ranks = ALONE,
    saver: Saver | None = None,
    resumed: Checkpoint | None = None,
    engines: Sequence[type[Engine]] = ENGINES,
    task: Task | None = None,
) -> Trained:
    """Train a network in place, and measure it on the test set after every epoch.

    The test set decides nothing: early stopping uses the validation set. The curve is for inspection.

    Args:
        network: On the device of the images.
        splits: Its training, validation and test images.
        spec: How to train.
        seed_of_epoch: The seed of an epoch's order and augmentation.
        weights: The weights that `masks` prunes; after every optimiser step the pruned ones are exactly zero.
        masks: True where a weight is kept, by the names of `weights`; None prunes nothing.
        on_epoch: Called with each point of the training curve; it may raise `OutOfTimeError`.
        first_step: Steps at the beginning of the schedule, with their images, that are left out.
        until_step: The step of the schedule at which training ends, perhaps inside an epoch, of which the curve has no point
            then; None trains to the end.
        moments: State of the optimiser, as in `Trained.moments`; None starts it afresh.
        on_step: Called after every step with the number of steps since the beginning of the schedule; the masks that it
            may return prune the network from then on.
        ranks: The processes that train the network together, each calling this with equal arguments.
        saver: Called between steps; it may save the training, and end it. None trains to the end.
        resumed: A checkpoint to resume from; all other arguments are those of the saved training, except `masks`, which
            are those that `on_step` returned last.
        engines: The first of them that does not decline the training runs it.
        task: What the network is asked; None is classification of images by cross-entropy, which every engine knows.

    Raises:
        ValueError: `first_step` leaves no step to take, or `until_step` lies before it or after the last one.
        UserError: the device does not compute in the spec's precision.
        TrainingFailedError: the loss, a metric or a weight became NaN or infinite.
        OutOfTimeError: the saver has ended the training.
    """
    last_step = spec.epochs * steps_per_epoch(len(splits.train), spec.batch_size)
    until_step = last_step if until_step is None else until_step
    _check_steps(first_step, until_step, last_step)
    with in_precision(network, splits, spec) as splits:
        if resumed:
            network.load_state_dict(resumed.below("network/"))  # into the memory that is there, so its layout stays
            moments = resumed.below("moments/")
        setup = Setup(
            network=network,
            splits=splits,
            spec=spec,
            weights=weights or {},
            masks=masks or {},
            optimizer_state=moments,
            step_by_step=on_step is not None,
            ranks=ranks,
            loss=nn.functional.cross_entropy if task is None else task.loss,
            task=task,
        )
        engine = start_engine(setup, engines)
        stopper = Stopper(network, engine, spec.early_stopping) if spec.early_stopping else None
        progress = Progress(network, engine, stopper, spec, len(splits.train), first_step, until_step)
        if resumed:
            progress.restore(resumed)
        pauses = Pauses(saver, progress.checkpoint, splits.train.device, ranks)
        test: Evaluation | None = None
        evaluation_seconds = 0.0
        while not progress.ended:
            network.train()
            progress.begin_epoch(seed_of_epoch)
            while progress.left:
                steps = 1 if on_step else stopper.steps_left(progress.steps) if stopper else progress.left
                steps = min(pauses.at_most(steps), progress.left)
                engine.advance(steps)
                progress.count(steps)
                if on_step and (changed := on_step(progress.step)) is not None:
                    engine.set_masks(changed)
                if stopper:
                    stopper.look(progress.steps)
                pauses.after(steps)
            pauses.pause(ahead_seconds=evaluation_seconds)
            if progress.cut_short:
                test = None
                break
            start = perf_counter()
            engine.sync()
            test = engine.evaluate("test")
            train_loss = progress.mean_loss
            for name, value in (("training", train_loss), ("test", test.loss)):
                if not math.isfinite(value):
                    raise TrainingFailedError(f"the {name} loss became {value:g} in epoch {progress.epoch + 1}")
            if task is not None:
                _check_metrics({task.metric.name: test.metrics[task.metric.name]}, "test", progress.epoch + 1)
            progress.end_epoch(_point(progress.epoch + 1, train_loss, test, task))
            on_epoch(progress.curve[-1])
            evaluation_seconds = perf_counter() - start
            pauses.pause(epoch_ended=True, finished=progress.ended)
        engine.sync()
        engine.finish()
        if stopper:
            stopper.restore()
            test = evaluate(network, splits.test, ranks, task)
        test = test or engine.evaluate("test")
        _check_weights(network, progress.epoch)
        validation = evaluate(network, splits.validation, ranks, task) if splits.validation else None
        for split, evaluation in (("test", test), ("validation", validation)):
            _check_metrics(evaluation.metrics if evaluation else {}, split, progress.epoch)
        return Trained(
            epochs=tuple(progress.curve),
            test=test,
            validation=validation,
            steps=progress.steps,
            engine=engine.name,
            memory_format=splits.train.memory_format,
            compiler=engine.compiler,
            moments=engine.optimizer_state(),
        )


def _point(epoch: int, train_loss: float, test: Evaluation, task: Task | None) -> Epoch:
    """Return a point of the training curve."""
    if task is None or task.metric == TOP1:
        return Epoch(epoch=epoch, train_loss=train_loss, top1=test.top1, loss=test.loss)
    return Epoch(epoch=epoch, train_loss=train_loss, loss=test.loss, metric=test.metrics[task.metric.name])


def _check_metrics(metrics: Mapping[str, float], split: str, epoch: int) -> None:
    """Raise `TrainingFailedError` for a metric that is NaN or infinite, which no row can hold."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise TrainingFailedError(f"the {split} metric {name} became {value:g} in epoch {epoch}")


def _check_weights(network: nn.Module, epoch: int) -> None:
    """Raise `TrainingFailedError` for a weight that is NaN or infinite: the last step's show in no loss, and have no rank."""
    for name, weight in network.named_parameters():
        if not weight.isfinite().all():
            raise TrainingFailedError(f"the weight {name} became NaN or infinite in epoch {epoch}")


def _check_steps(first_step: int, until_step: int, last_step: int) -> None:
    if not 0 <= first_step < last_step:
        raise ValueError(f"`first_step` (={first_step}) must lie in [0, {last_step}), the steps of the training")
    if not first_step <= until_step <= last_step:
        raise ValueError(f"`until_step` (={until_step}) must lie in [{first_step}, {last_step}], the steps of the training")
