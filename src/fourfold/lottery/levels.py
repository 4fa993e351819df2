"""The lottery-ticket loop: train, prune, rewind, train again.

A level is a function of the spec, the trial number, its mask and, where weights pass from level to level, one state. So
training it again gives the same row, and resuming an interrupted trial gives the rows of an uninterrupted one.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from fourfold import data, models, parts, pruning, tasks
from fourfold.data.items import Items
from fourfold.lottery.keeping import OnKept, keep_done
from fourfold.lottery.recovery import OnTrained, Recovery, tell_nobody
from fourfold.lottery.rows import masks_of_row, promised
from fourfold.lottery.seeds import derive_seed
from fourfold.lottery.strategies import strategy_of
from fourfold.lottery.training import OnEpoch, Round
from fourfold.nn import named_weights
from fourfold.parts import build, measure, sizes_of_real_twin, splits_of
from fourfold.record import Row, RunStore, Spec, UserError
from fourfold.record.examples import EXAMPLE_TRIAL
from fourfold.record.store import Arrays
from fourfold.train import ALONE, Ranks, Trained, TrainingFailedError, steps_per_epoch, train
from fourfold.train.examples import examples_of
from fourfold.train.saving import Saving

OnRow = Callable[[Row], None]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A spec with all that its trials share: the images on the device and the sizes of both networks."""

    spec: Spec
    splits: data.Splits
    sizes: models.Sizes
    sizes_real: models.Sizes
    """Of the real twin."""
    device: torch.device
    data_dir: Path | None = None
    """Where the images were found; None means the default place."""
    ranks: Ranks = ALONE
    """The processes that train the networks together."""
    data: str | None = None
    """SHA-256 of the images and labels, which every row names; None leaves it open."""
    task: tasks.Task = field(default_factory=tasks.Classification)
    """What the network is asked."""
    code: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file of the user's code, which every row names."""
    trainer: Callable[..., Trained] = train
    """Trains a network, as `fourfold.train.train` does."""

    @classmethod
    def prepare(cls, spec: Spec, data_dir: Path | None, device: torch.device, *, download: bool = True) -> "Experiment":
        """Load the data and measure the networks.

        Raises:
            UserError: unknown names, sizes that do not fit, missing or broken data.
        """
        source = parts.load(spec, data_dir, download=download)
        sizes = measure(spec)
        return cls(
            spec=spec,
            splits=splits_of(source, spec, device),
            sizes=sizes,
            sizes_real=sizes_of_real_twin(spec) or sizes,
            device=device,
            data_dir=data_dir,
            data=source.digest,
            task=parts.task_of(spec),
            code=parts.digests(spec),
        )

    @property
    def training_task(self) -> tasks.Task | None:
        """The task as training takes it: None is plain classification, which every engine knows."""
        return training_task(self.task, self.splits, self.ranks)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return steps_per_epoch(len(self.splits.train), self.spec.train.batch_size)


def training_task(task: tasks.Task, splits: data.Splits, ranks: Ranks = ALONE) -> tasks.Task | None:
    """Return a task as training takes it; see `Experiment.training_task`.

    Of the user's own data those are images that lie as built-in ones do, of which every engine gives the same rows.
    """
    plain = task == tasks.Classification() and splits.kind == "classes"
    return None if plain and not (ranks.alone and isinstance(splits.train, Items)) else task


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """The result of a level."""

    row: Row
    mask: Arrays
    """Bit-packed: the mask that the network was trained under, or, with gradual pruning, pruned to."""
    successor: Arrays | None
    """The next level's mask; None where training itself makes it."""
    carried: Arrays
    """What the next level needs beside its mask; empty where that is nothing."""
    examples: Arrays = field(default_factory=dict)
    """What the network says of a few items of the test set; empty for tasks and trials that leave none."""


def run_trial(
    experiment: Experiment,
    store: RunStore,
    trial: int,
    on_row: OnRow = lambda row: None,
    on_epoch: OnEpoch = lambda level, epoch: None,
    keep: Collection[int] = (),
    on_kept: OnKept = lambda level, message: None,
    saving: Saving | None = None,
) -> None:
    """Run the levels of a trial that are not yet on disk, until its spec says stop; of levels in `keep`, keep the weights.

    Levels in `keep` whose rows are on disk without weights are trained again at the end. An interrupted level resumes from its
    checkpoint, if `saving` has one.

    Raises:
        OutOfTimeError: a training was ended by a deadline or a person.
    """
    if experiment.data is not None:
        store.check_data(experiment.data, [trial])
    recovery = recovery_of(experiment, store, trial, on_epoch, saving)
    store.drop_states(trial, before=len(store.rows(trial)))  # a process may have died before it did
    while not store.finished(trial) and store.failure(trial) is None:
        level = len(store.rows(trial))

        def on_trained(state: Arrays, level: int = level) -> None:
            if level in keep:
                store.save_weights(trial, level, state)

        mask, carried = recovery.needs(level)
        try:
            done = run_level(experiment, trial, level, mask, on_epoch, on_trained, carried, saving)
        except TrainingFailedError as failure:
            store.fail(trial, level, str(failure))
            store.checkpoints.drop(trial, level)
            return
        if done.carried:
            store.save_state(trial, level + 1, done.carried)
        if done.successor is not None:
            store.save_mask(trial, level + 1, done.successor)
        elif level:
            store.save_mask(trial, level, done.mask)
        if done.examples:
            store.save_examples(level, done.examples)
        store.append(done.row)
        store.checkpoints.drop(trial, level)
        store.drop_states(trial, before=level + 1)
        on_row(done.row)

    def train_again(row: Row) -> tuple[Row, Arrays]:
        state: Arrays = {}
        again = recovery.again(row.level, state.update)
        if again.examples and again.row.same_result(row):
            store.save_examples(row.level, again.examples)
        return again.row, state

    keep_done(store, trial, keep, train_again, on_kept)


def recovery_of(experiment: Experiment, store: RunStore, trial: int, on_epoch: OnEpoch, saving: Saving | None) -> Recovery:
    """Return what gives the levels of a trial what they need, and trains them again where that is lost."""

    def train_level(level: int, mask: Arrays | None, carried: Arrays | None, on_trained: OnTrained) -> Level:
        return run_level(experiment, trial, level, mask, on_epoch, on_trained, carried, saving and saving.off)

    tell = saving.tell if saving else tell_nobody
    return Recovery(store, trial, experiment.sizes, train_level, tell)


def ignore(state: Arrays) -> None:
    """Do nothing with a trained state."""


def carries(spec: Spec) -> bool:
    """Whether a level needs more of the levels before it than its mask."""
    return strategy_of(spec).needs_state


def load_trained(store: RunStore, trial: int, level: int) -> nn.Module:
    """Return the trained network of a level whose weights were kept, in evaluation mode on the CPU.

    Raises:
        UserError: its weights were not kept, it was not trained to its end, or a file is damaged.
    """
    store.check_kept(trial, level)
    network, row = build(store.spec(), derive_seed(trial, "weights")), store.rows(trial)[level]
    masks = masks_of_row(store, row, named_weights(network))
    try:
        pruning.expand_(network.state_dict(), store.weights(trial, level), masks)
    except ValueError as error:
        raise UserError(f"the weights of level {level} of trial {trial} in {store.path} are not its own: {error}") from error
    return network.eval()


def run_level(
    experiment: Experiment,
    trial: int,
    level: int,
    packed: Arrays | None,
    on_epoch: OnEpoch = lambda level, epoch: None,
    on_trained: Callable[[Arrays], None] = ignore,
    carried: Arrays | None = None,
    saving: Saving | None = None,
) -> Level:
    """Rewind, train under the level's mask, prune, and return the row and what the next level needs.

    Args:
        experiment: What all trials share.
        trial: The seed of everything random.
        level: How often the network was pruned.
        packed: The bits of the level's mask; None keeps everything.
        on_epoch: Called after every epoch; it may raise to give up.
        on_trained: Called with the trained state, pruned weights left out.
        carried: What the level before has left beside the mask; None at level 0, and where specs rewind to the start.
        saving: The trial's checkpoints; None means that there are none.

    Raises:
        TrainingFailedError: the loss became nan or infinite.
        OutOfTimeError: the training was ended by a deadline or a person.
    """
    strategy = strategy_of(experiment.spec)
    this = Round.of(experiment, trial, level, packed, carried, on_epoch, saving)
    begin = strategy.start(this)
    trained = this.train(begin)
    on_trained(pruning.compress(this.network.state_dict(), this.masks))
    examples = _examples(experiment, trial, level, this.network)
    left = strategy.finish(this, begin, trained)
    successor = None if left.successor is None else pruning.pack(left.successor)
    row = replace(this.row(trained), promised=promised(successor, left.carried))
    return Level(row=row, mask=pruning.pack(this.masks), successor=successor, carried=left.carried, examples=examples)


def _examples(experiment: Experiment, trial: int, level: int, network: nn.Module) -> Arrays:
    """Return what a trained network says of a few test items; one trial alone leaves that."""
    if trial != EXAMPLE_TRIAL:
        return {}
    of = experiment
    return examples_of(of.task, of.splits, of.spec, network, of.device, with_items=level == 0)
