"""`Engine`: takes the optimiser steps of a training. `Setup`: the training that an engine accepts or declines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from fourfold.data import Resident, Splits
from fourfold.record import TrainSpec
from fourfold.tasks import Task
from fourfold.train.evaluation import Evaluation
from fourfold.train.ranks import ALONE, Ranks

Split = Literal["train", "validation", "test"]

Loss = Callable[[Any, Any], Tensor]
"""Of a network's outputs and the targets of a batch: the mean over its samples."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """One training: a network, its data, and how it is trained."""

    network: nn.Module
    """On the device of the data; trained in place."""
    splits: Splits
    spec: TrainSpec
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """The weights that `masks` prunes."""
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    """True where a weight is kept, by the names of `weights`; after every step the pruned ones are exactly zero."""
    optimizer_state: Mapping[str, Tensor] | None = None
    """As `Engine.optimizer_state` returns it; None starts the optimiser afresh."""
    step_by_step: bool = False
    """Whether somebody looks at the network after every step, and may change the masks there."""
    loss: Loss = nn.functional.cross_entropy
    task: Task | None = None
    """What evaluations measure; None is classification of images."""
    ranks: Ranks = ALONE
    """The processes that train the network together; each has an engine, and all make the same calls."""


def beyond(setup: Setup) -> str | None:
    """Return what a training asks for that only `Eager` knows; None if that is nothing."""
    if setup.loss is not nn.functional.cross_entropy or setup.task is not None:
        return "its loss is not that of a classification"
    if not setup.spec.is_plain:
        return "its optimiser has more than a learning rate, momentum and weight decay"
    return None


class Engine(Protocol):
    """Trains a network epoch by epoch: `begin` one, `advance` until its steps are taken, `evaluate`, and begin the next."""

    name: str
    """In rows, plans and tables."""
    compiler: str | None
    """Of the native code that takes the steps; None where PyTorch does."""

    @classmethod
    def declines(cls, setup: Setup) -> str | None:
        """Return why the engine cannot run a training; None if it can."""

    def __init__(self, setup: Setup) -> None:
        """Prepare a training that the engine does not decline.

        Raises:
            DeclinedError: what only trying could tell.
        """

    def begin(self, seed: int, rates: Tensor, first: int = 0, loss: Tensor | None = None) -> None:
        """Begin an epoch, or resume inside it.

        Args:
            seed: Of its order and augmentation.
            rates: float64 (steps,), the learning rate of each step.
            first: Number of the first step to take, from 0.
            loss: What `loss` returned when the epoch was left; None begins at 0.
        """

    def advance(self, steps: int) -> None:
        """Take that many steps of the epoch, which has as many left."""

    def loss(self) -> Tensor:
        """Return the summed loss of the epoch's samples so far, each before its step: float64 (), or (parts,) of ranks."""

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Prune by other masks from now on."""

    def evaluate(self, split: Split) -> Evaluation:
        """Evaluate the network as the steps have left it."""

    def optimizer_state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """Return `<parameter>.mean`, of Adam `<parameter>.square`, and the number of `steps` that they have seen.

        Args:
            copy: Whether the tensors stay as they are when more steps are taken.
        """

    def sync(self) -> None:
        """Write the trained parameters to the network."""

    def finish(self) -> None:
        """Leave the result in the network, such as a moving average of its weights; no step follows."""


class DeclinedError(Exception):
    """The engine cannot run a training; the message says why."""


def samples_of(steps: range, batch_size: int, count: int) -> slice:
    """Return the positions in an epoch of the samples of some of its steps; the last batch may be smaller."""
    return slice(steps.start * batch_size, min(steps.stop * batch_size, count))


def data_of(splits: Splits, split: Split) -> Resident:
    """Return a split.

    Raises:
        ValueError: there are no validation images.
    """
    data: Resident | None = getattr(splits, split)
    if data is None:
        raise ValueError(f"`split` (={split!r}) must be one that the data have: none are held out")
    return data
