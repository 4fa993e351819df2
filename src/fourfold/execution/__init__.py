"""Running experiments: trials in worker processes, in the processes of torchrun, or on a Ray cluster."""

from fourfold.execution._run import run, run_job
from fourfold.execution._stability import stability
from fourfold.execution.checks import check
from fourfold.execution.events import Event
from fourfold.execution.jobs import Job
from fourfold.execution.pool import default_workers
from fourfold.execution.tracking import check_trackers, tracked

__all__ = ["Event", "Job", "check", "check_trackers", "default_workers", "run", "run_job", "stability", "tracked"]
