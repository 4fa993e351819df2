"""One network trained and evaluated."""

from fourfold.train.checkpoint import Checkpoint, OutOfTimeError, Saver, Wanted
from fourfold.train.engines import ENGINES, Engine
from fourfold.train.evaluation import Evaluation, evaluate
from fourfold.train.loop import Trained, TrainingFailedError, train
from fourfold.train.machine import describe_device, multiplies_bf16, resolve_device, single_thread, versions
from fourfold.train.progress import steps_per_epoch
from fourfold.train.ranks import ALONE, Ranks, join

__all__ = [
    "ALONE",
    "ENGINES",
    "Checkpoint",
    "Engine",
    "Evaluation",
    "OutOfTimeError",
    "Ranks",
    "Saver",
    "Trained",
    "TrainingFailedError",
    "Wanted",
    "describe_device",
    "evaluate",
    "join",
    "multiplies_bf16",
    "resolve_device",
    "single_thread",
    "steps_per_epoch",
    "train",
    "versions",
]
