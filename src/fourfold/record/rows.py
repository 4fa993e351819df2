"""`Row`: what came out of one level of one trial."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fourfold.record.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One point of a training curve, measured after the epoch."""

    epoch: int
    """Epochs trained so far, from 1."""
    train_loss: float
    """Mean cross-entropy (nats) over the epoch's batches, as it was trained."""
    top1: float
    """Test accuracy in percent."""
    loss: float
    """Test cross-entropy in nats."""


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
    """`ticket`, or the control that this level is."""
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
    top1: float
    """Test accuracy in percent."""
    top5: float | None
    """Test top-5 accuracy in percent, for 100 classes and more."""
    loss: float
    """Test cross-entropy in nats."""
    train_loss: float
    """Mean cross-entropy of the last epoch."""
    steps: int
    """Optimiser steps trained."""
    layers: dict[str, tuple[int, int]]
    """Per layer with weights: kept, total."""
    epochs: tuple[Epoch, ...]
    """The training curve."""
    mask: str
    """SHA-256 of the level's mask."""
    provenance: Provenance

    def to_line(self) -> str:
        """Return the row as one line of JSON; nan and infinity are refused."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str, source: str = "row") -> "Row":
        """Read a row back; unknown fields (of a later version) are ignored, missing ones are a `UserError`."""
        try:
            value: Mapping[str, Any] = json.loads(line)
            known = {f.name for f in fields(cls)}
            kept = {k: v for k, v in value.items() if k in known}
            kept["layers"] = {name: (int(k), int(n)) for name, (k, n) in value["layers"].items()}
            kept["epochs"] = tuple(Epoch(**e) for e in value["epochs"])
            kept["provenance"] = Provenance(**value["provenance"])
            return cls(**kept)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{source} is not a row of fourfold ({error!r})") from error

    def result(self) -> dict[str, Any]:
        """Return everything that must be equal when the same trial is run again: all but the provenance."""
        value = dataclasses.asdict(self)
        del value["provenance"]
        return value
