"""Lottery-ticket experiments: levels of training, pruning and rewinding, over trials and algebras."""

from fourfold.lottery import presets
from fourfold.lottery.connectivity import connectivity, rewinding_sweep
from fourfold.lottery.controls import run_controls
from fourfold.lottery.levels import Experiment, load_trained, run_level, run_trial
from fourfold.lottery.local import check, run
from fourfold.lottery.planning import Plan, plan
from fourfold.lottery.pool import Event, default_workers
from fourfold.lottery.seeds import derive_seed
from fourfold.lottery.stability import Line, overlaps, stability
from fourfold.lottery.throughput import Throughput, measure_throughput
from fourfold.lottery.tracking import check_trackers, tracked
from fourfold.record import Cluster

__all__ = [
    "Cluster",
    "Event",
    "Experiment",
    "Line",
    "Plan",
    "Throughput",
    "check",
    "check_trackers",
    "connectivity",
    "default_workers",
    "derive_seed",
    "load_trained",
    "measure_throughput",
    "overlaps",
    "plan",
    "presets",
    "rewinding_sweep",
    "run",
    "run_controls",
    "run_level",
    "run_trial",
    "stability",
    "tracked",
]
