"""`TrainSpec`: how a network is trained at every level."""

import math
from dataclasses import dataclass
from typing import Literal

from fourfold.record.checks import check_choice, check_count, check_flag, check_number, check_whole
from fourfold.record.errors import UserError

Optimizer = Literal["adam", "sgd"]
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

    optimizer: Optimizer = "adam"
    """adam (betas 0.9 and 0.999) or sgd."""
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
    precision: Precision | None = None
    """Of the network's products: tf32 (on GPUs alone) or bf16, whose inputs keep 10 and 7 bits of their fractions; None, which
    float32 becomes, has 23. Weights, losses and the optimiser stay float32."""

    def __post_init__(self) -> None:
        check_choice(self, "train", "optimizer", Optimizer)
        check_number(self, "train", "learning_rate", 0, 100, "()")
        check_count(self, "train", "batch_size", 1)
        check_count(self, "train", "epochs", 1)
        check_number(self, "train", "momentum", 0, 1, "[)")
        check_flag(self, "train", "nesterov")
        check_number(self, "train", "weight_decay", 0, 1, "[)")
        check_number(self, "train", "decay", 0, 1, "(]")
        check_count(self, "train", "warmup_steps", 0)
        if self.precision is not None:
            check_choice(self, "train", "precision", Precision)
            if self.precision == "float32":
                object.__setattr__(self, "precision", None)
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

    def rate(self, step: int, epoch: int) -> float:
        """Return the learning rate of an optimiser step, both counted from 0 since the beginning of the schedule."""
        if step < self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if self.cosine_steps is not None:
            return self.learning_rate * (1 + math.cos(math.pi * (step - self.warmup_steps) / self.cosine_steps)) / 2
        return self.learning_rate * float(self.decay ** sum(epoch >= milestone for milestone in self.milestones))
