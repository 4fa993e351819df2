"""Strategies: what a level starts from, and what the next one needs.

`start` brings a freshly drawn network to where its level starts. `finish` returns the next level's mask, from the trained
network, and what else passes on. Settings that cannot be combined with a strategy are refused when the spec is constructed
(`fourfold.record.combinations`).
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from fourfold import pruning
from fourfold.lottery import rewinding
from fourfold.lottery.rewinding import Begin, RewindPoint
from fourfold.lottery.training import Round, choose_masks, draw, successor_of
from fourfold.nn import named_weights
from fourfold.pruning import Masks
from fourfold.record import SCORED_AT_START, Spec
from fourfold.record.store import Arrays
from fourfold.train import Trained

GRADUAL_END = 0.75
"""Part of the steps after which gradual pruning has reached its density, so that the rest heals (Zhu & Gupta 2017, sec. 3)."""

GRADUAL_TIMES = 100
"""How often gradual pruning prunes on its way."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Left:
    """What a level passes to the next one."""

    successor: Masks | None
    """Its mask; None where training itself makes it."""
    carried: Arrays = field(default_factory=dict)
    """What it needs beside its mask; empty where that is nothing."""


class Strategy(Protocol):
    """How a trial comes from level to level."""

    masks_come_first: bool
    """Whether the mask of a level is known before it is trained."""

    @property
    def needs_state(self) -> bool:
        """Whether a level needs more of the levels before it than its mask."""

    def start(self, this: Round) -> Begin:
        """Bring the network, which has just been drawn, to where the level starts."""

    def finish(self, this: Round, begin: Begin, trained: Trained) -> Left:
        """Return what the next level needs of the trained network; `begin` is what `start` returned."""


class Iterative:
    """Each level prunes what the level before was trained to, among the weights that its mask keeps, and rewinds the rest."""

    masks_come_first = True

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    @property
    def needs_state(self) -> bool:
        """Whether weights pass from level to level: all but the first rewinding need some."""
        return self._spec.prune.rewind != "start"

    def start(self, this: Round) -> Begin:
        """See `Strategy.start`."""
        successor = scored_at_start(this, among=this.masks)
        begin = rewinding.begin(self._spec, this.network, this.masks, this.carried, this.experiment.steps_per_epoch)
        return replace(begin, successor=successor, callback=rewind_point(this))

    def finish(self, this: Round, begin: Begin, trained: Trained) -> Left:
        """See `Strategy.finish`."""
        successor = begin.successor or successor_of(this.experiment, this.trial, this.level, this.network, this.masks)
        carried = rewinding.carry(self._spec, this.network, trained.moments, successor)
        return Left(successor=successor, carried=_points(this, begin) | carried)


class OneShot:
    """Every level prunes what level 0 was trained to, at once to its own density, and continues from level 0."""

    masks_come_first = True

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._scored_at_start = spec.prune.score in SCORED_AT_START

    @property
    def needs_state(self) -> bool:
        """Whether level 0's weights pass from level to level: to be scored, or to be rewound to."""
        return not self._scored_at_start or self._spec.prune.rewind != "start"

    def start(self, this: Round) -> Begin:
        """See `Strategy.start`."""
        successor = scored_at_start(this, among=None)
        everything = pruning.dense(this.masks)  # of level 0, whatever this level's mask keeps of it
        begin = rewinding.begin(self._spec, this.network, everything, this.carried, this.experiment.steps_per_epoch)
        return replace(begin, successor=successor, callback=rewind_point(this))

    def finish(self, this: Round, begin: Begin, trained: Trained) -> Left:
        """See `Strategy.finish`."""
        if this.carried is not None:
            successor = begin.successor or self._successor_of_level_0(this, this.carried)
            return Left(successor=successor, carried=this.carried)
        successor = begin.successor or successor_of(this.experiment, this.trial, this.level, this.network, None)
        carried = _points(this, begin)
        if not self._scored_at_start:
            carried |= rewinding.carry_network(this.network, this.masks)
        if self._spec.prune.rewind == "continue":
            carried |= rewinding.carry_moments(trained.moments)
        return Left(successor=successor, carried=carried)

    def _successor_of_level_0(self, this: Round, carried: Arrays) -> Masks:
        network = draw(this.experiment, this.trial)
        rewinding.load_network(network, carried, pruning.dense(named_weights(network)))
        return successor_of(this.experiment, this.trial, this.level, network, None)


class Gradual:
    """Every level starts dense and is pruned while it is trained, to its density along a cubic (Zhu & Gupta 2017)."""

    masks_come_first = False
    needs_state = False

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def start(self, this: Round) -> Begin:
        """See `Strategy.start`."""
        return Begin(train=self._spec.train, callback=GradualPruning(this) if this.level else None)

    def finish(self, this: Round, begin: Begin, trained: Trained) -> Left:
        """See `Strategy.finish`."""
        return Left(successor=None)


class ContinuedSearch:
    """Masks are those of a second network, trained on with one optimiser that is never reset (paper 1's released code).

    Each level's own network starts anew, as with `Iterative`, and is what the row is of. At level 0 both are one.
    """

    masks_come_first = True
    needs_state = True

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def start(self, this: Round) -> Begin:
        """See `Strategy.start`."""
        return Begin(train=self._spec.train, more_follows=this.carried is not None)

    def finish(self, this: Round, begin: Begin, trained: Trained) -> Left:
        """See `Strategy.finish`."""
        network = this.network
        if this.carried is not None:
            network = draw(this.experiment, this.trial)
            moments = rewinding.load_search(network, this.masks, this.carried)
            trained = this.train(Begin(train=self._spec.train, moments=moments), network, stage="search")
        successor = successor_of(this.experiment, this.trial, this.level, network, this.masks)
        return Left(successor=successor, carried=rewinding.carry_search(network, trained.moments, successor))


SCHEDULES: dict[str, type[Iterative] | type[OneShot] | type[Gradual]] = {
    "iterative": Iterative,
    "one-shot": OneShot,
    "gradual": Gradual,
}
"""By `prune.schedule`."""


def strategy_of(spec: Spec) -> Strategy:
    """Return the strategy of a spec."""
    return ContinuedSearch(spec) if spec.prune.search == "continue" else SCHEDULES[spec.prune.schedule](spec)


def scored_at_start(this: Round, among: Masks | None) -> Masks | None:
    """Return the next level's mask by a score that is taken of the network before training; None for other scores."""
    if this.experiment.spec.prune.score not in SCORED_AT_START:
        return None
    return successor_of(this.experiment, this.trial, this.level, this.network, among)


def rewind_point(this: Round) -> RewindPoint | None:
    """Return what saves the state that later levels are rewound to; None after level 0, and where that is the start."""
    step = rewinding.rewind_step(this.experiment.spec, this.experiment.steps_per_epoch)
    return RewindPoint(this.network, this.masks, step) if this.level == 0 and step > 0 else None


def _points(this: Round, begin: Begin) -> Arrays:
    """Return the state that later levels are rewound to: as level 0 has saved it, or as it was passed on."""
    if begin.callback is not None:
        return dict(begin.callback.state())
    return {name: array for name, array in (this.carried or {}).items() if name.startswith("point/")}


class GradualPruning:
    """Per-step callback: prunes a level's network every few steps, to densities along a cubic."""

    def __init__(self, this: Round) -> None:
        self.masks = this.masks
        self._this = this
        steps = this.experiment.spec.train.epochs * this.experiment.steps_per_epoch
        self._end = max(1, round(GRADUAL_END * steps))
        self._every = max(1, self._end // GRADUAL_TIMES)

    def on_step(self, step: int) -> Masks | None:
        """Return other masks when it is time to prune."""
        if step > self._end or (step % self._every and step != self._end):
            return None
        this, density = self._this, partial(pruning.gradual_density, step, begin=0, end=self._end)
        prune, training = this.experiment.spec.prune, this.network.training
        densities = {name: density(final=final) for name, final in prune.densities(this.level).items()}
        final = prune.density(this.level)
        self.masks = choose_masks(this.experiment, this.trial, this.network, self.masks, density(final=final), densities)
        this.network.train(training)
        return self.masks

    def state(self) -> Arrays:
        """Return the masks."""
        return {f"masks/{name}": bits for name, bits in pruning.pack(self.masks).items()}

    def restore(self, arrays: Arrays) -> None:
        """Restore the masks."""
        if masks := rewinding.arrays_below(arrays, "masks/"):
            self.masks = pruning.unpack(masks, named_weights(self._this.network))
