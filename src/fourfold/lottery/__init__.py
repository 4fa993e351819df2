"""Lottery-ticket experiments: levels of training, pruning and rewinding, their controls and their stability."""

from importlib import import_module
from typing import Any

from fourfold.lottery._connectivity import connectivity, rewinding_sweep
from fourfold.lottery._stability import Line, overlaps
from fourfold.lottery.controls import run_controls
from fourfold.lottery.levels import Experiment, load_trained, run_level, run_trial
from fourfold.lottery.seeds import derive_seed
from fourfold.lottery.tickets import example_of, export_torch, load_ticket
from fourfold.record.aliases import alias_modules

__all__ = [
    "Experiment",
    "Line",
    "connectivity",
    "derive_seed",
    "example_of",
    "export_torch",
    "load_ticket",
    "load_trained",
    "overlaps",
    "rewinding_sweep",
    "run_controls",
    "run_level",
    "run_trial",
]

alias_modules(__name__, "connectivity")

_MOVED = {
    "Cluster": "fourfold.record",
    "Event": "fourfold.execution",
    "Plan": "fourfold.timing",
    "Throughput": "fourfold.timing",
    "check": "fourfold.execution",
    "check_trackers": "fourfold.execution",
    "default_workers": "fourfold.execution",
    "measure_throughput": "fourfold.timing",
    "plan": "fourfold.timing",
    "presets": "fourfold",
    "run": "fourfold.execution",
    "serving": "fourfold.execution",
    "stability": "fourfold.execution",
    "tracked": "fourfold.execution",
}
"""Names that this package had in version 0.1, and their packages now."""


def __getattr__(name: str) -> Any:
    """Return a name of version 0.1 from its package now."""
    if name in _MOVED:
        return getattr(import_module(_MOVED[name]), name)
    raise AttributeError(f"module 'fourfold.lottery' has no attribute {name!r}")
