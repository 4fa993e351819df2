"""What an experiment is and what came out of it: specs, rows and their files. No torch in this room."""

from fourfold.record.errors import UserError
from fourfold.record.rows import Epoch, Provenance, Row
from fourfold.record.spec import (
    SPEC_VERSION,
    DataSpec,
    EarlyStopping,
    ModelSpec,
    PruneSpec,
    Spec,
    StopSpec,
    TrainSpec,
)
from fourfold.record.store import RunStore, find_runs

__all__ = [
    "SPEC_VERSION",
    "DataSpec",
    "EarlyStopping",
    "Epoch",
    "ModelSpec",
    "Provenance",
    "PruneSpec",
    "Row",
    "RunStore",
    "Spec",
    "StopSpec",
    "TrainSpec",
    "UserError",
    "find_runs",
]
