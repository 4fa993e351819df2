"""How long training takes: the plan of a run before it starts, and throughput beside a plain training loop."""

from fourfold.timing.planning import Plan, plan
from fourfold.timing.throughput import Throughput, measure_throughput

__all__ = ["Plan", "Throughput", "measure_throughput", "plan"]
