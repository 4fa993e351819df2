"""The lottery-ticket loop: train, prune, rewind, train again.

A level needs nothing but the spec, the trial number, its mask and, where weights pass from level to level, one state; so
doing it again gives the same row, and running a trial that was interrupted is the same as running it at all.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from fourfold import data, models, pruning
from fourfold.lottery import rewinding
from fourfold.lottery.building import build, measure, splits_of
from fourfold.lottery.keeping import OnKept, keep_done
from fourfold.lottery.recovery import OnTrained, Recovery, tell_nobody
from fourfold.lottery.rewinding import Begin
from fourfold.lottery.rows import make_row, masks_of_row, promised
from fourfold.lottery.saving import Saving, TrainingSaver
from fourfold.lottery.seeds import derive_seed
from fourfold.nn import named_weights
from fourfold.pruning import Choice, Masks
from fourfold.record import SCORED_AT_START, Epoch, Row, RunStore, Spec, UserError
from fourfold.record.store import Arrays
from fourfold.train import ALONE, OutOfTimeError, Ranks, Trained, TrainingFailedError, steps_per_epoch, train

OnRow = Callable[[Row], None]

OnEpoch = Callable[[int, Epoch], None]
"""Called with the level and each point of its training curve."""

GRADUAL_END = 0.75
"""Part of the steps after which gradual pruning has reached its density, so that the rest heals (Zhu & Gupta 2017, sec. 3)."""

GRADUAL_TIMES = 100
"""How often gradual pruning prunes on its way."""


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

    @classmethod
    def prepare(cls, spec: Spec, data_dir: Path | None, device: torch.device, *, download: bool = True) -> "Experiment":
        """Load the data and measure the networks.

        Raises:
            UserError: unknown names, sizes that do not fit, missing or broken data.
        """
        images = data.load(spec.data.name, data_dir, download=download)
        return cls(
            spec=spec,
            splits=splits_of(images, spec, device),
            sizes=measure(spec),
            sizes_real=measure(spec.real_twin),
            device=device,
            data_dir=data_dir,
            data=images.digest,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return steps_per_epoch(len(self.splits.train), self.spec.train.batch_size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """What came of a level."""

    row: Row
    mask: Arrays
    """Bit-packed: what the network was trained under, or with gradual pruning to."""
    successor: Arrays | None
    """The next level's mask; None where that is found while it is trained."""
    carried: Arrays
    """What the next level needs beside its mask; empty where that is nothing."""


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

    Those of them that are on disk without their weights are trained again at the end. A level that was begun goes on from its
    checkpoint, if `saving` has one; it may raise `OutOfTimeError`.
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
        store.append(done.row)
        store.checkpoints.drop(trial, level)
        store.drop_states(trial, before=level + 1)
        on_row(done.row)

    def train_again(row: Row) -> tuple[Row, Arrays]:
        state: Arrays = {}
        return recovery.again(row.level, state.update).row, state

    keep_done(store, trial, keep, train_again, on_kept)


def recovery_of(experiment: Experiment, store: RunStore, trial: int, on_epoch: OnEpoch, saving: Saving | None) -> Recovery:
    """Return what gives the levels of a trial what they need, and trains them again where that is lost."""

    def train_level(level: int, mask: Arrays | None, carried: Arrays | None, on_trained: OnTrained) -> Level:
        return run_level(experiment, trial, level, mask, on_epoch, on_trained, carried, saving and saving.off)

    tell = saving.tell if saving else tell_nobody
    return Recovery(store, trial, experiment.sizes, carries(experiment.spec), train_level, tell)


def ignore(state: Arrays) -> None:
    """Do nothing with a trained state."""


def carries(spec: Spec) -> bool:
    """Whether a level needs more of the levels before it than its mask."""
    prune = spec.prune
    one_shot = prune.schedule == "one-shot" and prune.score not in SCORED_AT_START
    return one_shot or prune.rewind != "start" or prune.search == "continue"


def load_trained(store: RunStore, trial: int, level: int) -> nn.Module:
    """Return the trained network of a level whose weights were kept, in evaluation mode on the CPU.

    Raises:
        UserError: its weights were not kept, it was not trained to its end, or a file is damaged.
    """
    network = build(store.spec(), derive_seed(trial, "weights"))
    row = next((row for row in store.rows(trial) if row.level == level), None)
    if row is None:
        raise UserError(f"level {level} of trial {trial} in {store.path} has no row: it was not trained to its end")
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
    """Rewind, train under the level's mask, and return the row and what the next level needs.

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
        OutOfTimeError: the training was told to end.
    """
    start, spec = perf_counter(), experiment.spec
    searches = spec.prune.search == "continue" and carried is not None
    network = build(spec, derive_seed(trial, "weights")).to(experiment.device)
    weights = named_weights(network)
    masks = pruning.unpack(packed, weights) if packed else pruning.dense(weights)
    at_start = successor_of(experiment, trial, level, network, masks) if spec.prune.score in SCORED_AT_START else None
    begun = rewinding.begin(spec, network, masks, carried, experiment.steps_per_epoch)
    watch = _Watch(experiment, trial, level, network, masks)
    saver = saving.of(level, network, masks, watch=watch, then_more=searches) if saving else None
    trained = train_level(experiment, trial, level, network, masks, begun, on_epoch, watch, saver)
    masks = watch.masks
    on_trained(pruning.compress(network.state_dict(), masks))
    start -= saver.seconds_before if saver else 0.0
    if spec.prune.schedule == "gradual":
        row = make_row(experiment, trial, level, network, masks, trained, perf_counter() - start)
        return Level(row=row, mask=pruning.pack(masks), successor=None, carried={})

    scored, found = network, dict(watch.point)
    if searches:
        assert carried is not None
        scored = build(spec, derive_seed(trial, "weights")).to(experiment.device)
        moments = rewinding.load_search(scored, masks, carried)
        begun, saver = Begin(train=spec.train, moments=moments), None
        if saving:
            saver = saving.of(level, scored, masks, stage="search")
        searched = train_level(experiment, trial, level, scored, masks, begun, on_epoch, saver=saver)
        start -= saver.seconds_before if saver else 0.0
    else:
        searched = trained
    if spec.prune.schedule == "one-shot" and carried is not None and at_start is None:
        scored = build(spec, derive_seed(trial, "weights")).to(experiment.device)
        rewinding.load_level_0(scored, carried)
    successor = at_start or successor_of(experiment, trial, level, scored, masks)
    found |= rewinding.carry(spec, network, trained.moments, masks, successor, carried)
    if spec.prune.search == "continue":
        found |= rewinding.carry_search(scored, searched.moments, successor)
    row = make_row(experiment, trial, level, network, masks, trained, perf_counter() - start)
    packed_successor = pruning.pack(successor)
    row = replace(row, promised=promised(packed_successor, found))
    return Level(row=row, mask=pruning.pack(masks), successor=packed_successor, carried=found)


def train_level(
    experiment: Experiment,
    trial: int,
    level: int,
    network: nn.Module,
    masks: Masks,
    begun: Begin,
    on_epoch: OnEpoch,
    watch: "_Watch | None" = None,
    saver: TrainingSaver | None = None,
) -> Trained:
    """Train a network under masks, on the images of the level in their order, from where its saver says it was."""
    weights = named_weights(network)
    resumed = saver.load() if saver else None
    masks = watch.masks if watch else masks
    pruning.apply_(weights, masks)
    try:
        return train(
            network,
            experiment.splits,
            begun.train,
            seed_of_epoch=lambda epoch: derive_seed(trial, "images", level, epoch),
            weights=weights,
            masks=masks,
            on_epoch=lambda epoch: on_epoch(level, epoch),
            first_step=begun.first_step,
            moments=begun.moments,
            on_step=watch.on_step if watch and watch.needed else None,
            ranks=experiment.ranks,
            saver=saver,
            resumed=resumed,
        )
    except OutOfTimeError as ending:
        raise OutOfTimeError(saver.ended(str(ending)) if saver else str(ending)) from None


def successor_of(experiment: Experiment, trial: int, level: int, network: nn.Module, masks: Masks) -> Masks:
    """Return the mask that the next level is trained under, from the network that is scored for it."""
    prune = experiment.spec.prune
    given = None if prune.schedule == "one-shot" else masks
    return _pruned(experiment, trial, network, given, prune.density(level + 1), prune.densities(level + 1))


def _pruned(
    experiment: Experiment,
    trial: int,
    network: nn.Module,
    masks: Masks | None,
    density: float,
    densities: Mapping[str, float],
) -> Masks:
    """Return the masks of a density, and of some layers' own, by the spec's score, among what masks keep (None: everything)."""
    prune, device = experiment.spec.prune, experiment.device
    images = labels = None
    if prune.score in pruning.NEED_IMAGES:
        seed = derive_seed(trial, "score-images")
        images, labels = next(iter(experiment.splits.train.epoch(prune.score_images, seed, augment=False)))
    network.train(prune.score in SCORED_AT_START)  # running statistics are nothing yet
    choice = Choice(
        density=density,
        score=prune.score,
        unit=prune.unit,
        scope=prune.scope,
        budget=prune.budget,
        skip=prune.skip or (),
        densities=densities,
    )
    return pruning.choose(
        network,
        choice,
        images=images,
        labels=labels,
        masks=masks,
        macs_per_weight=experiment.sizes.macs_per_weight,
        generator=torch.Generator(device).manual_seed(derive_seed(trial, "scores")),
    )


class _Watch:
    """Looks at a level between its steps where its spec wants that: to prune gradually, or to note where to rewind to."""

    def __init__(self, experiment: Experiment, trial: int, level: int, network: nn.Module, masks: Masks) -> None:
        self.masks = masks
        self.point: Arrays = {}
        self._experiment, self._trial, self._level, self._network = experiment, trial, level, network
        self._steps = experiment.spec.train.epochs * experiment.steps_per_epoch
        self._point_at = rewinding.rewind_step(experiment.spec, experiment.steps_per_epoch) if level == 0 else 0
        self._gradual = experiment.spec.prune.schedule == "gradual" and level > 0

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self._gradual or self._point_at > 0

    def state(self) -> Arrays:
        """Return what a checkpoint has to hold of this: the point once it is noted, and the masks once they change."""
        masks = pruning.pack(self.masks) if self._gradual else {}
        return self.point | {f"masks/{name}": bits for name, bits in masks.items()}

    def restore(self, arrays: Arrays) -> None:
        """Take up a state."""
        self.point = {name: array for name, array in arrays.items() if name.startswith("point/")}
        if masks := rewinding.arrays_below(arrays, "masks/"):
            self.masks = pruning.unpack(masks, named_weights(self._network))

    def on_step(self, step: int) -> Masks | None:
        """Note the point to rewind to, or return the masks of gradual pruning if it is time for others."""
        if step == self._point_at:
            self.point = rewinding.point(self._network)
        end = max(1, round(GRADUAL_END * self._steps))
        if not self._gradual or step > end or (step % max(1, end // GRADUAL_TIMES) and step != end):
            return None
        prune, now = self._experiment.spec.prune, partial(pruning.gradual_density, step, begin=0, end=end)
        densities = {name: now(final=final) for name, final in prune.densities(self._level).items()}
        training = self._network.training
        density = now(final=prune.density(self._level))
        self.masks = _pruned(self._experiment, self._trial, self._network, self.masks, density, densities)
        self._network.train(training)
        return self.masks
