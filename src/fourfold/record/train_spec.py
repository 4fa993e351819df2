"""`TrainSpec`: how a network is trained at every level."""

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from fourfold.record.checks import check_choice, check_count, check_flag, check_number, check_part, check_whole
from fourfold.record.errors import UserError, unknown

OPTIMIZERS = (
    "adam",
    "sgd",
    "adadelta",
    "adafactor",
    "adagrad",
    "adamax",
    "adamw",
    "asgd",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
)
"""Those of `torch.optim` that take a step from one gradient of every parameter, in lower case."""

ADDED_TO_TRAINING = ("optimizer_arguments", "schedule", "clip_norm", "ema", "mixup", "cutmix")
"""Fields that were added later: None in specs from before them."""

Schedule = Literal["cosine", "one-cycle"]
Precision = Literal["float32", "tf32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop at the minimum of the validation loss and restore the weights it was reached with (paper 1, section 5.1)."""

    every: int = 100
    """Optimiser steps between two looks at the validation set."""
    patience: int = 10
    """Looks without a new minimum before training ends."""

    def __post_init__(self) -> None:
        check_count(self, "early_stopping", "every", 1)
        check_count(self, "early_stopping", "patience", 1)


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """How a network is trained at every level."""

    optimizer: str = "adam"
    """adam (betas 0.9 and 0.999), sgd, or any other of torch.optim by name, such as adamw, rmsprop, radam."""
    learning_rate: float = 1e-3
    """Step size at the start."""
    batch_size: int = 60
    """Images a step; the last, smaller batch of an epoch is trained on too."""
    epochs: int = 40
    """Passes over the training images."""
    momentum: float = 0.0
    """Momentum of sgd."""
    nesterov: bool = False
    """Nesterov's form of that momentum."""
    weight_decay: float = 0.0
    """L2 penalty, added to the gradient as torch does."""
    milestones: tuple[int, ...] = ()
    """Epochs (from 0) at whose start the learning rate is multiplied by `decay`."""
    decay: float = 0.1
    """Factor of the learning rate at each milestone."""
    warmup_steps: int = 0
    """Optimiser steps in which the learning rate rises in proportion, from 0 at the first one."""
    cosine_steps: int | None = None
    """Optimiser steps after warm-up in which the learning rate falls to 0 along half a cosine; it rises again in as many,
    and so on (paper 2's released code goes through it many times). None means milestones alone."""
    early_stopping: EarlyStopping | None = None
    """Stop early on the validation set; None means off."""
    optimizer_arguments: tuple[str, ...] | None = None
    """Further arguments of the optimiser in torch, as name=value with a value of JSON, such as betas=[0.9,0.95]; None means
    its defaults."""
    schedule: Schedule | None = None
    """The learning rate over the whole training, after warm-up: cosine falls to 0 along half a cosine; one-cycle rises from
    1/25 of it for three tenths of the steps and falls to 1/250,000, along cosines (Smith & Topin 2018). None means milestones,
    or `cosine_steps`."""
    clip_norm: float | None = None
    """The most that the norm of all gradients together may be; None means off."""
    ema: float | None = None
    """Decay a step of a moving average of the weights, which is what is evaluated and pruned, such as 0.999; None means off."""
    mixup: float | None = None
    """Mix pairs of images and their labels, with a weight from Beta(a, a) a batch (Zhang et al. 2018); None means off."""
    cutmix: float | None = None
    """Paste a rectangle of another image, its area from Beta(a, a), and mix labels by it (Yun et al. 2019); None means off."""
    precision: Precision | None = None
    """Of the network's products: tf32 (on GPUs alone) or bf16, whose inputs keep 10 and 7 bits of their fractions; None, which
    float32 becomes, has 23. Weights, losses and the optimiser stay float32."""

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown("train optimizer", self.optimizer, OPTIMIZERS)
        self._check_arguments()
        check_number(self, "train", "learning_rate", 0, 100, "()")
        check_count(self, "train", "batch_size", 1)
        check_count(self, "train", "epochs", 1)
        check_number(self, "train", "momentum", 0, 1, "[)")
        check_flag(self, "train", "nesterov")
        check_number(self, "train", "weight_decay", 0, 1, "[)")
        check_number(self, "train", "decay", 0, 1, "(]")
        check_count(self, "train", "warmup_steps", 0)
        if self.early_stopping is not None:
            check_part(self, "train", "early_stopping", EarlyStopping)
        if self.precision is not None:
            check_choice(self, "train", "precision", Precision)
            if self.precision == "float32":
                object.__setattr__(self, "precision", None)
        if self.schedule is not None:
            check_choice(self, "train", "schedule", Schedule)
            for name, off in (("milestones", ()), ("cosine_steps", None)):
                if getattr(self, name) not in (off, []):
                    raise UserError(
                        f"`train.{name}` (={getattr(self, name)!r}) cannot be combined with `train.schedule` "
                        f"(={self.schedule!r}): both decide the learning rate"
                    )
        for name, low, high, bounds in (
            ("clip_norm", 0, 1e9, "()"),
            ("ema", 0, 1, "()"),
            ("mixup", 0, 1000, "()"),
            ("cutmix", 0, 1000, "()"),
        ):
            if getattr(self, name) is not None:
                check_number(self, "train", name, low, high, bounds)
        if self.mixup is not None and self.cutmix is not None:
            raise UserError(
                f"`train.mixup` (={self.mixup}) cannot be combined with `train.cutmix` (={self.cutmix}): each makes the labels"
            )
        if self.cosine_steps is not None:
            check_count(self, "train", "cosine_steps", 1)
        if self.cosine_steps is not None and self.milestones:
            raise UserError(
                f"`train.milestones` (={tuple(self.milestones)}) must be () with `train.cosine_steps` (={self.cosine_steps})"
            )
        if self.nesterov and self.momentum == 0:
            raise UserError("`train.nesterov` (=True) needs `train.momentum` (=0) above 0")
        object.__setattr__(self, "milestones", tuple(self.milestones))
        for milestone in self.milestones:
            check_whole("train.milestones", milestone, 1)
        if list(self.milestones) != sorted(set(self.milestones)):
            raise UserError(f"`train.milestones` (={self.milestones}) must be increasing epochs")

    @property
    def arguments(self) -> dict[str, Any]:
        """The further arguments of the optimiser, by name."""
        pairs = (text.partition("=") for text in self.optimizer_arguments or ())
        return {name: json.loads(value) for name, _, value in pairs}

    @property
    def is_plain(self) -> bool:
        """Whether it has nothing but what every engine knows: adam or sgd, one rate a step, and one batch of labels."""
        off = all(getattr(self, name) is None for name in ADDED_TO_TRAINING if name != "schedule")
        return off and self.optimizer in ("adam", "sgd")

    def _check_arguments(self) -> None:
        """Store the further arguments as `name=value`, in the order of their names."""
        arguments: Any = self.optimizer_arguments
        if arguments is None:
            return
        pairs = (
            [f"{name}={json.dumps(value)}" for name, value in arguments.items()] if isinstance(arguments, dict) else arguments
        )
        if not isinstance(pairs, tuple | list) or not pairs or not all(isinstance(pair, str) for pair in pairs):
            raise UserError(f"`train.optimizer_arguments` (={arguments!r}) must be None or pairs such as 'eps=1e-6'")
        object.__setattr__(self, "optimizer_arguments", tuple(sorted(pairs)))
        for pair in pairs:
            name, _, text = pair.partition("=")
            try:
                json.loads(text)
            except ValueError:
                name = ""
            if not name.isidentifier() or name in _OWN_FIELDS:
                own = f"; `train.{_OWN_FIELDS[name]}` sets it" if name in _OWN_FIELDS else ""
                raise UserError(
                    f"`train.optimizer_arguments` (={pair!r}) must be a name and a value of JSON, such as 'eps=1e-6'{own}"
                )

    def rate(self, step: int, epoch: int, steps: int | None = None) -> float:
        """Return the learning rate of an optimiser step, both counted from 0 since the beginning of the schedule.

        Args:
            step: Number of the step.
            epoch: Number of its epoch.
            steps: Those of the whole training, which `schedule` needs.
        """
        if step < self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if self.schedule is not None:
            assert steps is not None, "schedules over the whole training need its steps"
            return self.learning_rate * _factor(self.schedule, (step - self.warmup_steps) / max(1, steps - self.warmup_steps))
        if self.cosine_steps is not None:
            return self.learning_rate * (1 + math.cos(math.pi * (step - self.warmup_steps) / self.cosine_steps)) / 2
        return self.learning_rate * float(self.decay ** sum(epoch >= milestone for milestone in self.milestones))


_OWN_FIELDS = {"lr": "learning_rate", "momentum": "momentum", "nesterov": "nesterov", "weight_decay": "weight_decay"}
"""Arguments of torch's optimisers that have fields of their own."""

_RISING, _FIRST, _LAST = 0.3, 1 / 25, 1 / 250_000
"""Of one-cycle, torch's defaults: the part of the steps in which the rate rises, and its factors at both ends."""


def _factor(schedule: Schedule, part: float) -> float:
    """Return the factor of the learning rate after a part of the training."""
    if schedule == "cosine":
        return (1 + math.cos(math.pi * part)) / 2
    if part < _RISING:
        return _between(_FIRST, 1, part / _RISING)
    return _between(1, _LAST, (part - _RISING) / (1 - _RISING))


def _between(start: float, end: float, part: float) -> float:
    """Return a value on half a cosine from one value to another."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
