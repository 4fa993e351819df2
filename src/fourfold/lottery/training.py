"""One level while it is run: its network is drawn, trained under masks, and scored for the next level's."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from fourfold import pruning
from fourfold.lottery.rewinding import Begin
from fourfold.lottery.rows import make_row
from fourfold.lottery.seeds import derive_seed
from fourfold.nn import named_weights
from fourfold.parts import build, check_weights, in_a_trial, is_own_model
from fourfold.pruning import Choice, Masks
from fourfold.record import SCORED_AT_START, TICKET, Epoch, Row
from fourfold.record.store import Arrays
from fourfold.train import OutOfTimeError, Trained
from fourfold.train.saving import Saving, TrainingSaver, Watching

if TYPE_CHECKING:
    from fourfold.lottery.levels import Experiment

OnEpoch = Callable[[int, Epoch], None]
"""Called with the level and each point of its training curve."""


class Callback(Watching, Protocol):
    """Called between the steps of a level; checkpoints hold its state."""

    @property
    def masks(self) -> Masks:
        """What the network is trained under now."""

    def on_step(self, step: int) -> Masks | None:
        """Return the masks that prune the network from now on; None leaves them as they are.

        Args:
            step: Optimiser steps since the beginning of the schedule.
        """


@dataclass(kw_only=True, eq=False)
class Round:
    """A level of a trial while it is run."""

    experiment: "Experiment"
    trial: int
    """The seed of everything random."""
    level: int
    network: nn.Module
    """As it was drawn, until it is brought to where the level starts, and trained."""
    masks: Masks
    """Its own; with gradual pruning, after training, those that it was trained to."""
    carried: Arrays | None
    """What the level before has left beside the mask; None at level 0, and where that is nothing."""
    on_epoch: OnEpoch
    saving: Saving | None
    """The trial's checkpoints; None means that there are none."""
    control: str = TICKET
    """The control that it is."""
    started: float = field(default_factory=perf_counter)
    """When it began, by `time.perf_counter`, less what its trainings took before they were resumed."""

    @classmethod
    def of(
        cls,
        experiment: "Experiment",
        trial: int,
        level: int,
        packed: Arrays | None,
        carried: Arrays | None,
        on_epoch: OnEpoch,
        saving: Saving | None,
    ) -> "Round":
        """Return a level with its network drawn; `packed` are the bits of its mask, None keeps everything."""
        started = perf_counter()
        network = draw(experiment, trial)
        weights = named_weights(network)
        return cls(
            experiment=experiment,
            trial=trial,
            level=level,
            network=network,
            masks=pruning.unpack(packed, weights) if packed else pruning.dense(weights),
            carried=carried,
            on_epoch=on_epoch,
            saving=saving,
            started=started,
        )

    def train(self, begin: Begin, other: nn.Module | None = None, stage: str = "") -> Trained:
        """Train a network in place under the level's masks, on its images in their order, from its checkpoint if it has one.

        Args:
            begin: Where it starts.
            other: A second network in place of the level's own.
            stage: Of its checkpoints: one of `fourfold.record.checkpoints.STAGES`.

        Raises:
            TrainingFailedError: the loss became nan or infinite.
            OutOfTimeError: the training was ended by a deadline or a person.
        """
        network, callback = other or self.network, begin.callback
        saver = self._saver(network, begin, stage)
        resumed = saver.load() if saver else None
        weights, masks = named_weights(network), callback.masks if callback else self.masks
        pruning.apply_(weights, masks)
        try:
            with drawing(self.experiment, self.trial, self.level), in_a_trial(self.experiment.spec):
                trained = self.experiment.trainer(
                    network,
                    self.experiment.splits,
                    begin.train,
                    seed_of_epoch=lambda epoch: derive_seed(self.trial, "images", self.level, epoch),
                    weights=weights,
                    masks=masks,
                    on_epoch=lambda epoch: self.on_epoch(self.level, epoch),
                    first_step=begin.first_step,
                    moments=begin.moments,
                    on_step=callback.on_step if callback else None,
                    ranks=self.experiment.ranks,
                    saver=saver,
                    resumed=resumed,
                    task=self.experiment.training_task,
                )
        except OutOfTimeError as ending:
            raise OutOfTimeError(saver.ended(str(ending)) if saver else str(ending)) from None
        self.started -= saver.seconds_before if saver else 0.0
        if callback is not None and other is None:
            self.masks = callback.masks
        return trained

    def _saver(self, network: nn.Module, begin: Begin, stage: str) -> TrainingSaver | None:
        if self.saving is None:
            return None
        watch, more = begin.callback, begin.more_follows
        return self.saving.of(self.level, network, self.masks, control=self.control, stage=stage, watch=watch, then_more=more)

    def row(self, trained: Trained) -> Row:
        """Return the row of the trained network."""
        seconds = perf_counter() - self.started
        return make_row(self.experiment, self.trial, self.level, self.network, self.masks, trained, seconds, self.control)


def draw(experiment: "Experiment", trial: int) -> nn.Module:
    """Return the network of a trial as it is drawn."""
    with in_a_trial(experiment.spec):
        network = build(experiment.spec, derive_seed(trial, "weights")).to(experiment.device)
        check_weights(experiment.spec, network, experiment.sizes)
    return network


@contextmanager
def drawing(experiment: "Experiment", trial: int, level: int, stream: str = "network") -> Iterator[None]:
    """Seed what layers of the user's own network draw from, such as dropout; the built-in ones draw nothing."""
    if not is_own_model(experiment.spec):
        yield
        return
    with torch.random.fork_rng([experiment.device] if experiment.device.type == "cuda" else []):
        torch.manual_seed(derive_seed(trial, stream, level))
        yield


def successor_of(experiment: "Experiment", trial: int, level: int, network: nn.Module, among: Masks | None) -> Masks:
    """Return the mask that the next level is trained under.

    Args:
        experiment: The spec and its images.
        trial: The trial.
        level: This level.
        network: Whose weights are scored.
        among: The weights that may be kept; None means all.
    """
    prune = experiment.spec.prune
    return choose_masks(experiment, trial, network, among, prune.density(level + 1), prune.densities(level + 1))


def choose_masks(
    experiment: "Experiment",
    trial: int,
    network: nn.Module,
    among: Masks | None,
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
        loss=None if experiment.training_task is None else experiment.task.loss,
        masks=among,
        macs_per_weight=experiment.sizes.macs_per_weight,
        generator=torch.Generator(device).manual_seed(derive_seed(trial, "scores")),
    )
