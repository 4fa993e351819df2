"""What passes from level to level beside the mask, as one flat dict of arrays, and what a level makes of it.

Its parts, by prefix: `network/` what the level before (with one-shot pruning level 0) was trained to, `moments/` its
optimiser's averages, `point/` where level 0 was at the step that all levels are rewound to, and `search/network/` and
`search/moments/` those of the second network whose weights are pruned, where there is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fourfold import pruning
from fourfold.pruning import Masks
from fourfold.record import KEEPS_TRAINED, Spec, TrainSpec
from fourfold.record.store import Arrays

if TYPE_CHECKING:
    from fourfold.lottery.training import Callback


@dataclass(frozen=True, kw_only=True, eq=False)
class Begin:
    """How the training of a level begins; the network itself has been brought there."""

    train: TrainSpec
    first_step: int = 0
    """Steps of the schedule that are left out."""
    moments: dict[str, Tensor] | None = None
    """State of the optimiser; None starts it afresh."""
    callback: "Callback | None" = None
    """What is called between its steps."""
    successor: Masks | None = None
    """The next level's mask, where that is scored before training."""
    more_follows: bool = False
    """Whether the level has another training after this one, so that its end is saved, too."""


class RewindPoint:
    """Per-step callback: saves the state of level 0 that later levels are rewound to."""

    def __init__(self, network: nn.Module, masks: Masks, step: int) -> None:
        self.masks = masks
        self.point: Arrays = {}
        """Empty before the step."""
        self._network, self._step = network, step

    def on_step(self, step: int) -> None:
        """Save the network's state if this is the step."""
        if step == self._step:
            state = pruning.compress(self._network.state_dict(), {})
            # Copies: training continues in the same memory.
            self.point = _prefixed("point/", {name: array.copy() for name, array in state.items()})

    def state(self) -> Arrays:
        """Return the saved state."""
        return self.point

    def restore(self, arrays: Arrays) -> None:
        """Restore the saved state."""
        self.point = {name: array for name, array in arrays.items() if name.startswith("point/")}


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
        masks: The weights that `carried` holds.
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
    if rewind == "weights":
        _load(_without(state, masks), arrays_below(carried, "network/"), {})
        return Begin(train=train)
    load_network(network, carried, masks)
    if rewind == "fine-tune":
        last = train.epochs * steps_per_epoch - 1
        rate = train.rate(last, train.epochs - 1, last + 1)
        constant = replace(train, learning_rate=rate, milestones=(), warmup_steps=0, cosine_steps=None, schedule=None)
        return Begin(train=constant)
    return Begin(train=train, moments=tensors_below(carried, "moments/") if rewind == "continue" else None)


def carry(spec: Spec, network: nn.Module, moments: Mapping[str, Tensor], successor: Masks) -> Arrays:
    """Return what rewinding needs of a trained level beside its mask; empty where that is nothing.

    Args:
        spec: The experiment.
        network: As the level was trained.
        moments: State of its optimiser.
        successor: The next level's mask.
    """
    rewind = spec.prune.rewind
    if rewind not in KEEPS_TRAINED:
        return {}
    if rewind == "weights":
        return _prefixed("network/", pruning.compress(_without(network.state_dict(), successor), successor))
    carried = carry_network(network, successor)
    return carried | carry_moments(moments) if rewind == "continue" else carried


def carry_network(network: nn.Module, masks: Masks) -> Arrays:
    """Return a trained network for later levels, the weights that masks prune left out."""
    return _prefixed("network/", pruning.compress(network.state_dict(), masks))


def carry_moments(moments: Mapping[str, Tensor]) -> Arrays:
    """Return an optimiser's state for later levels."""
    return _prefixed("moments/", _arrays(moments))


def load_network(network: nn.Module, carried: Arrays, masks: Masks) -> None:
    """Bring a network to what `carry_network` has left; `masks` are the weights that it holds."""
    _load(network.state_dict(), arrays_below(carried, "network/"), masks)


def carry_search(network: nn.Module, moments: Mapping[str, Tensor], successor: Masks) -> Arrays:
    """Return the second network and its optimiser as the next level takes them up."""
    return _prefixed("search/network/", pruning.compress(network.state_dict(), successor)) | _prefixed(
        "search/moments/", _arrays(moments)
    )


def load_search(network: nn.Module, masks: Masks, carried: Arrays) -> dict[str, Tensor]:
    """Bring a network to where the search of masks was, and return its optimiser's averages."""
    _load(network.state_dict(), arrays_below(carried, "search/network/"), masks)
    return tensors_below(carried, "search/moments/")


def arrays_below(carried: Arrays, prefix: str) -> Arrays:
    """Return the arrays below a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in carried.items() if name.startswith(prefix)}


def tensors_below(carried: Arrays, prefix: str) -> dict[str, Tensor]:
    """Return the arrays below a prefix as tensors on the CPU."""
    return {name: torch.from_numpy(array) for name, array in arrays_below(carried, prefix).items()}


def _without(state: Mapping[str, Tensor], weights: Masks) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name not in weights}


def _load(state: Mapping[str, Tensor], arrays: Arrays, masks: Masks) -> None:
    pruning.expand_(state, {name: arrays[name] for name in state}, masks)


def _arrays(values: Mapping[str, Tensor]) -> Arrays:
    return {name: value.cpu().numpy() for name, value in values.items()}


def _prefixed(prefix: str, arrays: Arrays) -> Arrays:
    return {prefix + name: array for name, array in arrays.items()}
