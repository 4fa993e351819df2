"""Running experiments: trials in worker processes, in the processes of torchrun, or on a Ray cluster."""

from fourfold.execution._run import check, run
from fourfold.execution._stability import stability
from fourfold.execution.pool import Event, default_workers
from fourfold.execution.tracking import check_trackers, tracked

__all__ = ["Event", "check", "check_trackers", "default_workers", "run", "stability", "tracked"]
