"""`Row`: what came out of one level of one trial."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from fourfold.record.errors import UserError
from fourfold.record.metric import TOP1, Metric
from fourfold.record.reading import READING_ERRORS, build, parse_object

TICKET = "ticket"
"""`Row.control` of a level that is no control."""

CONTROLS = {
    "random-init": "the ticket's mask, other initial weights",
    "shuffled-layer": "the ticket's mask, its numbers (with their patterns of components) shuffled within every layer",
    "shuffled-global": "the ticket's mask, its bits shuffled over the whole network",
    "random-layer": "a random mask with the ticket's number of weights in every layer",
    "erk-random": "a random mask with the ticket's number of weights, layers at the densities of Erdős–Rényi kernels",
    "inverted": "the weights that the ticket's levels pruned first are kept",
    "small-dense": "a dense network of smaller width with as many weights",
    "equal-macs": "the real network, pruned level by level to the ticket's MACs",
}
"""What a ticket is held against, by name: every control is trained as the ticket's level is, on the same images in order."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One point of a training curve, measured after the epoch."""

    epoch: int
    """Epochs trained so far, from 1."""
    train_loss: float
    """Mean loss (of classification: cross-entropy in nats) over the epoch's batches, as it was trained."""
    top1: float | None = None
    """Test accuracy in percent, to be looked at: nothing is selected by it. None for tasks that have none."""
    loss: float
    """Mean test loss."""
    metric: float | None = None
    """The task's metric on the test set, where that is not `top1`."""

    @property
    def value(self) -> float:
        """The task's metric on the test set."""
        measured = self.top1 if self.metric is None else self.metric
        assert measured is not None, "rows are checked when they are read"
        return measured


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where and when a row was made: the only fields in which two runs of one trial may differ."""

    seconds: float
    """Wall time of the level: training, evaluation and pruning."""
    finished: str
    """UTC, ISO 8601."""
    device: str
    """Such as `cpu (1 thread, AMD EPYC 9B45)` or `cuda (NVIDIA H200)`."""
    versions: dict[str, str]
    """Of fourfold, torch and python; of the C compiler, where native code took the steps."""
    engine: str | None = None
    """What took the steps, such as `eager` or `native`; None in rows that were written before this field was."""
    memory_format: str | None = None
    """Of the images: `contiguous` or `channels_last`; None as for `engine`."""
    precision: str | None = None
    """Of the products: `float32`, `tf32` or `bf16`; None as for `engine`."""
    code: dict[str, str] | None = None
    """SHA-256 of each file of the user's code that made the row, by the name that the spec has for it; None without any."""


@dataclass(frozen=True, kw_only=True)
class Promised:
    """What a level leaves to the next one, by SHA-256: who reads it knows whether it is what was written."""

    mask: str | None = None
    """Of the next level's mask, as that level's row will name it; None where there is none."""
    state: str | None = None
    """Of what the next level needs beside its mask; None where that is nothing."""


@dataclass(frozen=True, kw_only=True)
class PerClass:
    """What came out on the test set for each class, or each label of several."""

    names: tuple[str, ...]
    """Of the classes, in the order of their labels."""
    values: tuple[float | None, ...]
    """In percent: of classification, how many of the class's items are right; of segmentation, its intersection over union; of
    multilabel, its F1; of detection, its average precision at an IoU of 0.5. None for a class that does not occur."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """How often each class (row) was taken for each (column); None of labels, and above `MOST_CONFUSED` classes."""

    @property
    def fits(self) -> bool:
        """Whether there is a value for each name and, in a square of counts, a row and a column."""
        classes = len(self.names)
        square = self.confusion or ((0,) * classes,) * classes
        return len(self.values) == classes == len(square) and all(
            len(counts) == classes and min(counts) >= 0 for counts in square
        )


MOST_CONFUSED = 100
"""Classes of which rows have the confusion matrix: it has their square in numbers."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One level of one trial, complete enough for every table and figure."""

    run: str
    """Id of the run."""
    preset: str
    dataset: str
    model: str
    algebra: str
    trial: int
    level: int
    """0 is dense."""
    control: str
    """`ticket`, or the control of that level: one of `CONTROLS`."""
    weights: int
    """Kept weights: kernels and matrices, not biases, not normalisation."""
    weights_total: int
    density: float
    """Kept weights / weights of the same network."""
    parameters: int
    """Kept trainable parameters."""
    parameters_total: int
    parameters_real: int
    """Trainable parameters of the real twin."""
    fraction_of_real: float
    """`parameters / parameters_real`: the papers' x-axis."""
    macs: int
    """Multiply-accumulates for one image, of kept weights only: a quaternion component does four a position."""
    macs_dense: int
    """The same for the dense network."""
    macs_real: int
    """The same for the dense real twin."""
    stored_bytes: int
    """Bytes to store the trained ticket: fp32 values, the cheapest of three index codings a layer, and the rest dense."""
    top1: float | None = None
    """Test accuracy in percent; None for tasks that have none."""
    top5: float | None = None
    """Test top-5 accuracy in percent, for 100 classes and more."""
    loss: float
    """Mean test loss: of classification, cross-entropy in nats."""
    train_loss: float
    """Mean loss of the last epoch."""
    steps: int
    """Optimiser steps trained."""
    layers: dict[str, tuple[int, int]]
    """Per layer with weights: kept, total."""
    epochs: tuple[Epoch, ...]
    """The training curve."""
    mask: str
    """SHA-256 of the level's mask."""
    provenance: Provenance
    metrics: dict[str, float] = field(default_factory=dict)
    """Everything that was measured on the test set, by name. Rows of image classification keep theirs in `top1`, `top5` and
    `loss` alone, on disk, and are given them here."""
    metric: Metric = TOP1
    """Which of them the task is judged by."""
    validation: float | None = None
    """The metric (accuracy in percent) on the held-out training images, after training: what a sweep selects by. None where
    none are held out, and in rows that were written before this field was."""
    data: str | None = None
    """SHA-256 of the images and labels that it was trained and tested on; None in rows that were written before this field
    was."""
    promised: Promised | None = None
    """What it leaves to the next level; None where that is nothing, and in rows that were written before this field was."""
    per_class: PerClass | None = None
    """What came out for each class, of data of the user's own; None for built-in data sets and other tasks, and in rows that
    were written before this field was."""

    def __post_init__(self) -> None:
        if self.metric == TOP1:
            object.__setattr__(self, "metrics", {**self.metrics, **self._of_images()})

    @property
    def value(self) -> float:
        """The task's metric on the test set."""
        return self.metrics[self.metric.name]

    def _of_images(self) -> dict[str, float]:
        """Return what rows of image classification have been measured by."""
        values = {"top1": self.top1, "top5": self.top5, "loss": self.loss}
        return {name: value for name, value in values.items() if value is not None}

    def to_line(self) -> str:
        """Return the row as one line of JSON; nan and infinity are refused."""
        value = dataclasses.asdict(self)
        for name in ("metric",) if self.metric == TOP1 else ("top1", "top5"):
            del value[name]
        if self.metrics == self._of_images():
            del value["metrics"]
        for name in ("promised", "per_class"):
            if value[name] is None:
                del value[name]
        for part in (value["provenance"], *value["epochs"]):
            for name in ("code", "metric", "top1"):
                if name in part and part[name] is None:
                    del part[name]
        return json.dumps(value, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str, source: str = "row") -> "Row":
        """Read a row back; unknown fields (of a later version) are ignored.

        Raises:
            UserError: a field is missing, of another type, not finite, or says what no level can be.
        """
        try:
            row = build(cls, parse_object(line))
            row.check()
        except READING_ERRORS as error:
            raise UserError(f"{source} is not a row of fourfold ({error!r})") from error
        return row

    def check(self) -> None:
        """Raise `ValueError` for numbers that no level can have."""
        counts = (self.weights, self.weights_total, self.parameters, self.parameters_total, self.macs, self.macs_dense)
        for name, holds in (
            ("trial", self.trial >= 0),
            ("level", self.level >= 0),
            ("control", self.control == TICKET or self.control in CONTROLS),
            ("layers", len(self.layers) > 0 and all(0 <= kept <= total and total > 0 for kept, total in self.layers.values())),
            ("metrics", self.metric.name in self.metrics and (self.metric == TOP1) == (self.top1 is not None)),
            ("metrics", all(math.isfinite(value) for value in self.metrics.values())),
            ("top1", self.top1 is None or 0 <= self.top1 <= 100),
            ("top5", self.top5 is None or 0 <= self.top5 <= 100),
            ("fraction_of_real", self.fraction_of_real > 0),
            ("density", 0 <= self.density <= 1),
            ("parameters_real", self.parameters_real > 0),
            ("weights, parameters or macs", min(*counts, self.macs_real, self.stored_bytes, self.steps) >= 0),
            ("per_class", self.per_class is None or self.per_class.fits),
            ("epochs", all(epoch.epoch > 0 and (epoch.top1, epoch.metric) != (None, None) for epoch in self.epochs)),
        ):
            if not holds:
                raise ValueError(f"no level has such {name}")

    @property
    def collapsed(self) -> tuple[str, ...]:
        """The layers of which no weight is left while others have some: nothing passes through them but biases."""
        return tuple(name for name, (kept, _) in self.layers.items() if kept == 0 and self.weights > 0)

    def result(self) -> dict[str, Any]:
        """Return everything that must be equal when the same trial is run again: all but the provenance."""
        value = dataclasses.asdict(self)
        del value["provenance"]
        return value

    def same_result(self, other: "Row") -> bool:
        """Whether another row says the same, but for its provenance; what one of them does not name may be the same."""
        mine, theirs = self.result(), other.result()
        for name in ("data", "promised", "per_class"):  # which rows of earlier versions lack
            if None in (mine[name], theirs[name]):
                mine[name] = theirs[name] = None
        return mine == theirs
