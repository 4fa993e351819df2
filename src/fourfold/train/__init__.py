"""One network trained and evaluated."""

from fourfold.train.evaluation import Evaluation, evaluate
from fourfold.train.loop import OutOfTimeError, Trained, TrainingFailedError, steps_per_epoch, train
from fourfold.train.machine import describe_device, resolve_device, single_thread, versions

__all__ = [
    "Evaluation",
    "OutOfTimeError",
    "Trained",
    "TrainingFailedError",
    "describe_device",
    "evaluate",
    "resolve_device",
    "single_thread",
    "steps_per_epoch",
    "train",
    "versions",
]
