"""Checkpoints: the state of a training between two of its steps, and when it is saved or ended there."""

import dataclasses
import math
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from fourfold.record import Epoch
from fourfold.record.checkpoints import where
from fourfold.train.ranks import ALONE, Ranks

LOOK_SECONDS = 0.2
"""About how often a training of short steps pauses: unnoticeable to a person who waits, and free for the training."""


class OutOfTimeError(Exception):
    """A training was ended between two steps, by a deadline or a person; the message says where."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """Everything that the rest of a training depends on beside its spec, images, masks and seeds."""

    epoch: int
    """The epoch that the next step is of, from 0."""
    first: int = 0
    """Steps that were left out at its beginning."""
    step: int = 0
    """The number of its next step, from 0; that of all its steps where only the evaluation is left."""
    steps: int
    """Of an epoch."""
    epochs: int
    """Of the training."""
    taken: int
    """Optimiser steps so far."""
    curve: tuple[Epoch, ...] = ()
    """Of the epochs that are over."""
    best_loss: float = math.inf
    """The lowest validation loss so far, with early stopping."""
    waited: int = 0
    """Looks at the validation loss since then."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """`network/<name>` of the state dict, `moments/<name>` of the optimiser, `best/<name>` of the state dict at the lowest
    validation loss, `loss`, the sum of the losses of the epoch's images so far, and `generator/<device>`, where it was used."""

    def below(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below a prefix, by the rest of their names."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}

    def position(self) -> dict[str, Any]:
        """Return everything but the tensors as JSON has it; numbers keep their last bit."""
        named = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("tensors", "curve")}
        return named | {"curve": [dataclasses.asdict(point) for point in self.curve]}

    @classmethod
    def at(cls, position: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Checkpoint":
        """Return the checkpoint of a position and tensors.

        Raises:
            KeyError, TypeError: the position lacks something.
        """
        curve = tuple(Epoch(**point) for point in position["curve"])
        named = {f.name: position[f.name] for f in dataclasses.fields(cls) if f.name not in ("tensors", "curve")}
        return cls(**named, curve=curve, tensors=tensors)

    @property
    def where(self) -> str:
        """Such as `epoch 3 of 40, step 120 of 917`."""
        return where(self.position())


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Whether to save a training, and whether to end it."""

    save: bool = False
    end: bool = False


class Saver(Protocol):
    """Saves a training, and decides when to save and when to end it; with several ranks the first one decides."""

    def wants(self, *, epoch_ended: bool, finished: bool, ahead_seconds: float) -> Wanted:
        """Return whether to save, and whether to end, now.

        Args:
            epoch_ended: Whether an epoch is over and evaluated.
            finished: Whether it was the last one, so that there is nothing to end.
            ahead_seconds: Estimated seconds until the next call.
        """

    def save(self, checkpoint: Checkpoint) -> None:
        """Save a checkpoint; it replaces the last one."""


class Pauses:
    """Calls a saver between steps: about five times a second, or after every step if steps take longer.

    Args:
        saver: What is called; None never pauses.
        checkpoint: Returns where the training is; called on all ranks at the same time.
        device: The network's.
        ranks: The processes that train it together.
        now: A clock in seconds.
    """

    def __init__(
        self,
        saver: Saver | None,
        checkpoint: Callable[[], Checkpoint],
        device: torch.device,
        ranks: Ranks = ALONE,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._saver, self._checkpoint, self._device, self._ranks, self._now = saver, checkpoint, device, ranks, now
        self._since, self._count = now(), 1
        self._saved: tuple[int, int] | None = None
        """Epoch and step of what was saved last."""
        self._came_on = False
        """Whether anything was done since the training began or was resumed: each time it comes on, if only by a step."""
        self.left = 1
        """Steps until the next one."""

    def at_most(self, steps: int) -> int:
        """Return how many of some steps to take before the next pause."""
        return steps if self._saver is None else min(steps, self.left)

    def after(self, steps: int) -> None:
        """Count steps that were taken, and pause if it is time to.

        Raises:
            OutOfTimeError: the saver ends the training.
        """
        self.left -= steps
        self._came_on = True
        if self.left <= 0:
            self.pause()

    def pause(self, *, epoch_ended: bool = False, finished: bool = False, ahead_seconds: float = 0.0) -> None:
        """Call the saver, and save or end the training.

        Args:
            epoch_ended: Whether an epoch is over and evaluated.
            finished: Whether it was the last one.
            ahead_seconds: How long the training takes until the next pause, if that is not a matter of steps.

        Raises:
            OutOfTimeError: the saver ends the training.
        """
        if self._saver is None:
            return
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # steps were queued: only now have they been taken
        decision = self._agreed(epoch_ended, finished, ahead_seconds)
        self._came_on = self._came_on or epoch_ended
        if self._came_on and (decision.save or decision.end):
            checkpoint = self._checkpoint()
            place = checkpoint.epoch, checkpoint.step
            if decision.save and place != self._saved:
                self._saver.save(checkpoint)
                self._saved = place
            if decision.end:
                raise OutOfTimeError(checkpoint.where)
        self._since = self._now()

    def _agreed(self, epoch_ended: bool, finished: bool, ahead_seconds: float) -> Wanted:
        """Return what the first rank's saver wants, and take over how many steps it leaves until the next pause."""
        assert self._saver is not None
        answer = b""
        if self._ranks.first:
            seconds = max(self._now() - self._since, 1e-9)
            done = self._count - max(self.left, 0)
            count = max(1, min(int(done * LOOK_SECONDS / seconds), 2 * self._count)) if done else self._count
            ahead = max(ahead_seconds, seconds / done * count if done else 0.0)
            decision = self._saver.wants(epoch_ended=epoch_ended, finished=finished, ahead_seconds=ahead)
            answer = struct.pack("<??q", decision.save, decision.end, count)
        save, end, self._count = struct.unpack("<??q", self._ranks.from_first(answer))
        self.left = self._count
        return Wanted(save=save, end=end)


class Generators:
    """The generators that layers such as dropout draw from, which belong to a checkpoint once they have been used.

    Args:
        device: The network's.
        states: The states to restore, by `cpu` or `cuda`; others stay as they are.
    """

    def __init__(self, device: torch.device, states: Mapping[str, Tensor]) -> None:
        self._device, self._resumed = device, set(states)
        if "cpu" in states:
            torch.set_rng_state(states["cpu"])
        if "cuda" in states and device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], device)
        self._before = self._states()

    def used(self) -> dict[str, Tensor]:
        """Return the states of those that the training has drawn from."""
        states = self._states().items()
        return {name: state for name, state in states if name in self._resumed or not torch.equal(state, self._before[name])}

    def _states(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states
