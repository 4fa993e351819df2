"""One network trained and evaluated."""

from fourfold.train.evaluation import Evaluation, evaluate
from fourfold.train.loop import OutOfTimeError, Trained, TrainingFailedError, train
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
    "train",
    "versions",
]
