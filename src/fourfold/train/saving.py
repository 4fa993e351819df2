"""Checkpoints inside a level: when one is written, what it holds, and how unusable ones are handled."""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fourfold import pruning
from fourfold.pruning import Masks
from fourfold.record import TICKET, RunStore, UserError
from fourfold.record.arrays import most_bytes
from fourfold.record.checkpoints import Identity, Part, Stored, Training, UnusableCheckpointError
from fourfold.record.store import Arrays
from fourfold.train import Checkpoint, Wanted, versions

AUTO, EPOCH, OFF = "auto", "epoch", "off"

AUTO_SECONDS = 300.0
"""Between checkpoints inside a long epoch."""

AUTO_SHARE = 0.01
"""Part of the time that writing may take, so that short levels have no checkpoints and a large network has fewer."""

FIRST_GUESS_SECONDS, FIRST_GUESS_BYTES_PER_SECOND = 0.03, 200e6
"""Cost of writing before it has been measured: a slow disk's time to sync, and its speed."""

WATCH = "watch/"
"""Prefix of the arrays of a level's per-step callback."""

CheckpointEvery = str | float
"""`auto`, `epoch` or `off`, or seconds."""


def check_checkpoint(every: CheckpointEvery) -> None:
    """Raise `UserError` unless this says when to write checkpoints."""
    if isinstance(every, str) and every in (AUTO, EPOCH, OFF):
        return
    if isinstance(every, str) or not every > 0:
        raise UserError(f"`checkpoint` (={every!r}) must be auto, epoch, off, or a time above 0")


class Rule:
    """When a checkpoint is due.

    Args:
        every: `auto`: after every epoch, and every five minutes inside one, but for no more than a hundredth of the time;
            `epoch`: after every epoch; `off`: never; seconds: when so many have passed.
        least_seconds: From one to the next in any case, but for the one that a training ends with.
    """

    def __init__(self, every: CheckpointEvery = AUTO, least_seconds: float = 0.0) -> None:
        check_checkpoint(every)
        self._least_seconds = least_seconds
        self.on = every != OFF
        self._at_epochs = every in (AUTO, EPOCH)
        self._seconds = AUTO_SECONDS if every == AUTO else None if isinstance(every, str) else every
        self._share = AUTO_SHARE if every == AUTO else None

    def due(self, *, epoch_ended: bool, since_seconds: float, write_seconds: float) -> bool:
        """Return whether a checkpoint is due.

        Args:
            epoch_ended: Whether an epoch has just ended.
            since_seconds: How long ago the last one was written, or the training began.
            write_seconds: How long it takes to write one.
        """
        timely = (epoch_ended and self._at_epochs) or (self._seconds is not None and since_seconds >= self._seconds)
        return timely and self.affords(since_seconds=since_seconds, write_seconds=write_seconds)

    def affords(self, *, since_seconds: float, write_seconds: float) -> bool:
        """Return whether writing costs a small part of the time since the last checkpoint, where that matters."""
        costs_little = self._share is None or write_seconds <= self._share * since_seconds
        return self.on and costs_little and since_seconds >= self._least_seconds


class Ends(Protocol):
    """What ends trainings: a deadline, or a person."""

    def late(self, ahead_seconds: float) -> bool:
        """Return whether to end a training now instead of running for that long."""


class Watching(Protocol):
    """A per-step callback that has a state."""

    def state(self) -> Arrays:
        """Return its state."""

    def restore(self, arrays: Arrays) -> None:
        """Restore a state."""


Tell = Callable[..., None]
"""Called with the kind of an event (`checkpoint`, `resumed` or `notice`) and what it is about."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """The checkpoints of a trial's trainings."""

    store: RunStore
    trial: int
    ends: Ends
    rule: Rule = field(default_factory=Rule)
    data: str | None = None
    """SHA-256 of the images and labels, which a checkpoint names; None leaves it open."""
    tell: Tell = lambda kind, **about: None
    now: Callable[[], float] = time.perf_counter
    warned: set[str] = field(default_factory=set)
    """Trainings that could not be saved; only the first one is reported."""

    @property
    def off(self) -> "Saving":
        """The same without checkpoints: it only ends trainings."""
        return replace(self, rule=Rule(OFF))

    def of(
        self,
        level: int,
        network: nn.Module,
        masks: Masks,
        *,
        control: str = TICKET,
        stage: str = "",
        watch: Watching | None = None,
        then_more: bool = False,
    ) -> "TrainingSaver":
        """Return the saver of one training of a level.

        Args:
            level: The level.
            network: The network.
            masks: What it is trained under from its first step.
            control: The control that it is.
            stage: One of `fourfold.record.checkpoints.STAGES`.
            watch: What else there is to save of it.
            then_more: Whether another training of the level follows, so that the end of this one is saved, too.
        """
        return TrainingSaver(self, Training(self.trial, level, control, stage), network, masks, watch, then_more)


class TrainingSaver:
    """Saves one training, and says when: the `Saver` that `fourfold.train.train` asks. `Saving.of` has the arguments."""

    def __init__(
        self,
        saving: Saving,
        training: Training,
        network: nn.Module,
        masks: Masks,
        watch: Watching | None,
        then_more: bool,
    ) -> None:
        self._saving, self._training, self._masks, self._watch, self._then_more = saving, training, masks, watch, then_more
        self._shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        self._rule = saving.rule
        self._started = self._since = saving.now()
        self._write_seconds: float | None = None
        self._kept = False
        self.seconds_before = 0.0
        """Seconds of the training before it was resumed."""

    def load(self) -> Checkpoint | None:
        """Return the checkpoint of the training; None without one. An unusable one is reported and ignored."""
        if not self._rule.on:
            return None
        try:
            stored = self._saving.store.checkpoints.load(self._training, self._identity, most_bytes=self._most_bytes)
            if stored is None:
                return None
            checkpoint = self._checked(stored)
        except UnusableCheckpointError as error:
            self._tell("notice", message=f"{error}; {self._name} starts over")
            return None
        if self._watch is not None:
            self._watch.restore({name.removeprefix(WATCH): a for name, a in stored.arrays.items() if name.startswith(WATCH)})
        self._tell("resumed", message=checkpoint.where)
        return checkpoint

    def _checked(self, stored: Stored) -> Checkpoint:
        """Return what is stored, if the network can take it up."""
        tensors = {name: torch.from_numpy(a) for name, a in stored.arrays.items() if not name.startswith(WATCH)}
        try:
            checkpoint = Checkpoint.at(stored.position, tensors)
            self.seconds_before = float(stored.position["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise UnusableCheckpointError(f"the checkpoint of {self._name} lacks {error}") from error
        if {name: tuple(tensor.shape) for name, tensor in checkpoint.below("network/").items()} != self._shapes:
            raise UnusableCheckpointError(f"the checkpoint of {self._name} is of another network")
        return checkpoint

    def wants(self, *, epoch_ended: bool, finished: bool, ahead_seconds: float) -> Wanted:
        """Return whether to save (a checkpoint is due, or the training ends) and whether to end (no time is left)."""
        write_seconds = self._expected_write_seconds()
        if finished:
            since = self._saving.now() - self._started
            return Wanted(save=self._then_more and self._rule.affords(since_seconds=since, write_seconds=write_seconds))
        end = self._saving.ends.late(ahead_seconds + (write_seconds if self._rule.on else 0.0))
        since = self._saving.now() - self._since
        due = self._rule.due(epoch_ended=epoch_ended, since_seconds=since, write_seconds=write_seconds)
        return Wanted(save=due or (end and self._rule.on), end=end)

    def save(self, checkpoint: Checkpoint) -> None:
        """Save the training; a full disk is reported once, and training continues."""
        start = self._saving.now()
        position = checkpoint.position() | {"seconds": round(self.seconds_before + start - self._started, 3)}
        parts = {name: _part(tensor) for name, tensor in checkpoint.tensors.items()}
        if self._watch is not None:
            parts |= {f"{WATCH}{name}": _array_part(array) for name, array in self._watch.state().items()}
        try:
            self._saving.store.checkpoints.save(self._training, self._identity, position, parts)
        except OSError as error:
            if not self._saving.warned:
                why = f"no checkpoint of {self._name} could be written ({error.strerror}); training continues without it"
                self._tell("notice", message=why)
            self._saving.warned.add(self._name)
            self._kept = False
        else:
            self._kept = True
            self._tell("checkpoint", message=checkpoint.where)
        self._since = self._saving.now()
        self._write_seconds = self._since - start

    def ended(self, where: str) -> str:
        """Return where the training was ended, in words."""
        if not self._rule.on:
            where += "; nothing of it is kept"
        elif not self._kept:
            where += ", and could not be saved there"
        return f"{self._name}, {where}"

    def _expected_write_seconds(self) -> float:
        if self._write_seconds is None:
            bytes_ = 3 * 4 * sum(mask.numel() for mask in self._masks.values())  # weights, and Adam's two averages
            return FIRST_GUESS_SECONDS + bytes_ / FIRST_GUESS_BYTES_PER_SECOND
        return self._write_seconds

    @property
    def _most_bytes(self) -> int:
        return most_bytes(sum(map(math.prod, self._shapes.values())))

    @functools.cached_property
    def _identity(self) -> Identity:
        return {
            "version": versions()["fourfold"],
            "spec": self._saving.store.path.name,
            "mask": pruning.fingerprint(pruning.pack(self._masks)),
            "data": self._saving.data,
        }

    def _tell(self, kind: str, **about: Any) -> None:
        self._saving.tell(kind, control=self._training.control, level=self._training.level, **about)

    @property
    def _name(self) -> str:
        control = "" if self._training.control == TICKET else f"{self._training.control} "
        return f"{control}level {self._training.level}"


def _part(tensor: Tensor) -> Part:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Part(dtype=dtype, shape=tuple(tensor.shape), fetch=lambda: tensor.detach().cpu().numpy())


def _array_part(array: "np.ndarray[Any, Any]") -> Part:
    return Part(dtype=str(array.dtype), shape=array.shape, fetch=lambda: array)
