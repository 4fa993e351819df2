"""What an experiment is and what came out of it: specs, rows and their files. No torch in this room."""

from fourfold.record.cluster import Cluster, NoAnswerError
from fourfold.record.combinations import KEEPS_TRAINED, SCORED_AT_START
from fourfold.record.errors import RankError, UserError
from fourfold.record.finding_runs import find_runs
from fourfold.record.launch import Launch, launched
from fourfold.record.metric import TOP1, Metric
from fourfold.record.prune_spec import PruneSpec
from fourfold.record.references import Code, Trust
from fourfold.record.rows import CONTROLS, TICKET, Epoch, Promised, Provenance, Row
from fourfold.record.settings import Value, get_field, is_number, parse_value, split_words, with_fields
from fourfold.record.spec import SPEC_VERSION, DataSpec, ModelSpec, Spec, StopSpec
from fourfold.record.stability import Connectivity, ConnectivityRow, Overlap, OverlapRow
from fourfold.record.store import RunStore
from fourfold.record.task_spec import TaskSpec
from fourfold.record.train_spec import EarlyStopping, TrainSpec

__all__ = [
    "CONTROLS",
    "KEEPS_TRAINED",
    "SCORED_AT_START",
    "SPEC_VERSION",
    "TICKET",
    "TOP1",
    "Cluster",
    "Code",
    "Connectivity",
    "ConnectivityRow",
    "DataSpec",
    "EarlyStopping",
    "Epoch",
    "Launch",
    "Metric",
    "ModelSpec",
    "NoAnswerError",
    "Overlap",
    "OverlapRow",
    "Promised",
    "Provenance",
    "PruneSpec",
    "RankError",
    "Row",
    "RunStore",
    "Spec",
    "StopSpec",
    "TaskSpec",
    "TrainSpec",
    "Trust",
    "UserError",
    "Value",
    "find_runs",
    "get_field",
    "is_number",
    "launched",
    "parse_value",
    "split_words",
    "with_fields",
]
