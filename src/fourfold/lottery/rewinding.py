"""What passes from level to level beside the mask, as one flat dict of arrays, and what a level makes of it.

Its parts, by prefix: `network/` what the level before (with one-shot pruning level 0) was trained to, `moments/` its
optimiser's averages, `point/` where level 0 was at the step that all levels are rewound to, and `search/network/` and
`search/moments/` those of the second network whose weights are pruned, where there is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fourfold import pruning
from fourfold.nn import named_weights
from fourfold.pruning import Masks
from fourfold.record import KEEPS_TRAINED, SCORED_AT_START, Spec, TrainSpec
from fourfold.record.store import Arrays


@dataclass(frozen=True, kw_only=True, eq=False)
class Begin:
    """How the training of a level begins; the network itself has been brought there."""

    train: TrainSpec
    first_step: int = 0
    """Steps of the schedule that are left out."""
    moments: dict[str, Tensor] | None = None
    """Of the optimiser; None starts it afresh."""


def rewind_step(spec: Spec, steps_per_epoch: int) -> int:
    """Return the optimiser step of level 0 that later levels go back to; 0 for their start."""
    prune = spec.prune
    if prune.rewind == "epoch":
        return (prune.rewind_to or 0) * steps_per_epoch
    return (prune.rewind_to or 0) if prune.rewind == "step" else 0


def begin(spec: Spec, network: nn.Module, masks: Masks, carried: Arrays | None, steps_per_epoch: int) -> Begin:
    """Bring a network that has just been drawn to where the spec rewinds a level to.

    Args:
        spec: The experiment.
        network: At the trial's start; changed in place.
        masks: The level's.
        carried: What the level before has left; None at level 0.
        steps_per_epoch: Of the training.
    """
    train, rewind = spec.train, spec.prune.rewind
    if carried is None or rewind == "start":
        return Begin(train=train)
    state = network.state_dict()
    if rewind in ("step", "epoch"):
        _load(state, arrays_below(carried, "point/"), {})
        return Begin(train=train, first_step=rewind_step(spec, steps_per_epoch))
    # With one-shot pruning every level goes on from all of level 0's weights, otherwise from what its mask has left of them.
    left = pruning.dense(masks) if spec.prune.schedule == "one-shot" else masks
    trained = arrays_below(carried, "network/")
    if rewind == "weights":
        _load({name: value for name, value in state.items() if name not in masks}, trained, {})
        return Begin(train=train)
    _load(state, trained, left)
    if rewind == "fine-tune":
        last = train.epochs * steps_per_epoch - 1
        rate = train.rate(last, train.epochs - 1)
        return Begin(train=replace(train, learning_rate=rate, milestones=(), warmup_steps=0, cosine_steps=None))
    return Begin(train=train, moments=tensors_below(carried, "moments/") if rewind == "continue" else None)


def carry(
    spec: Spec,
    network: nn.Module,
    moments: Mapping[str, Tensor],
    masks: Masks,
    successor: Masks,
    carried: Arrays | None,
) -> Arrays:
    """Return what the next level needs of a trained one beside its mask; empty where it needs nothing.

    Args:
        spec: The experiment.
        network: As the level was trained.
        moments: Of its optimiser.
        masks: The level's.
        successor: The next level's.
        carried: What this level was given; None at level 0.
    """
    prune = spec.prune
    found = {name: value for name, value in (carried or {}).items() if name.startswith("point/")}
    if prune.schedule == "one-shot":
        if carried is not None:
            return carried
        if prune.score not in SCORED_AT_START:
            found |= _prefixed("network/", pruning.compress(network.state_dict(), masks))
    elif prune.rewind in KEEPS_TRAINED:
        state = network.state_dict()
        if prune.rewind == "weights":
            state = {name: value for name, value in state.items() if name not in masks}
        found |= _prefixed("network/", pruning.compress(state, successor))
    if prune.rewind == "continue":
        found |= _prefixed("moments/", _arrays(moments))
    return found


def carry_search(network: nn.Module, moments: Mapping[str, Tensor], successor: Masks) -> Arrays:
    """Return the second network and its optimiser as the next level takes them up."""
    return _prefixed("search/network/", pruning.compress(network.state_dict(), successor)) | _prefixed(
        "search/moments/", _arrays(moments)
    )


def load_search(network: nn.Module, masks: Masks, carried: Arrays) -> dict[str, Tensor]:
    """Bring a network to where the search of masks was, and return its optimiser's averages."""
    _load(network.state_dict(), arrays_below(carried, "search/network/"), masks)
    return tensors_below(carried, "search/moments/")


def load_level_0(network: nn.Module, carried: Arrays) -> None:
    """Bring a network to what level 0 was trained to, for one-shot pruning."""
    _load(network.state_dict(), arrays_below(carried, "network/"), pruning.dense(named_weights(network)))


def point(network: nn.Module) -> Arrays:
    """Return a network's state as the point that all levels go back to."""
    state = pruning.compress(network.state_dict(), {})
    return _prefixed("point/", {name: array.copy() for name, array in state.items()})  # training continues in the same memory


def arrays_below(carried: Arrays, prefix: str) -> Arrays:
    """Return the arrays below a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in carried.items() if name.startswith(prefix)}


def tensors_below(carried: Arrays, prefix: str) -> dict[str, Tensor]:
    """Return the arrays below a prefix as tensors on the CPU."""
    return {name: torch.from_numpy(array) for name, array in arrays_below(carried, prefix).items()}


def _load(state: Mapping[str, Tensor], arrays: Arrays, masks: Masks) -> None:
    pruning.expand_(state, {name: arrays[name] for name in state}, masks)


def _arrays(values: Mapping[str, Tensor]) -> Arrays:
    return {name: value.cpu().numpy() for name, value in values.items()}


def _prefixed(prefix: str, arrays: Arrays) -> Arrays:
    return {prefix + name: array for name, array in arrays.items()}
