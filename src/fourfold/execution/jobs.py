"""`Job`: what a run is asked for, from the command line to the worker; `Trial`: one trial of it, as workers read it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fourfold.lottery._stability import Line
from fourfold.lottery.controls import controls_left
from fourfold.lottery.keeping import not_kept
from fourfold.record import Cluster, RunStore, Spec, Trust
from fourfold.train.saving import AUTO, CheckpointEvery


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a run is asked for. `run` documents the fields that are its arguments."""

    specs: tuple[Spec, ...]
    trials: int = 5
    out: Path = Path("runs")
    device: str = "auto"
    data_dir: Path | None = None
    workers: int | None = None
    budget_seconds: float | None = None
    keep: tuple[int, ...] = ()
    controls: tuple[str, ...] = ()
    control_levels: tuple[int, ...] | None = None
    cluster: Cluster | None = None
    parts: int | None = None
    checkpoint: CheckpointEvery = AUTO
    accept_changed_code: bool = False

    line: Line | None = None
    """What to measure of the levels on disk, in place of training more of them."""
    deadline: float | None = None
    """Time on this machine's monotonic clock at which the budget is spent; None means never."""
    time_of_day: float | None = None
    """The same as Unix time, for another machine."""
    least_seconds: float = 0.0
    """Between two checkpoints of a level."""
    data: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the images and labels, by the name of the data set."""

    def incomplete(self, store: RunStore, trial: int) -> bool:
        """Whether anything that the job asks for is missing of a trial on disk."""
        return bool(
            not store.finished(trial)
            or controls_left(store, trial, self.controls, self.control_levels)
            or not_kept(store, trial, self.keep)
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a job."""

    spec: Spec
    number: int
    job: Job

    @property
    def key(self) -> tuple[str, int]:
        """The run and the number, by which a worker's events name it."""
        return self.spec.id, self.number

    def on_another_machine(self, time_of_day: float | None, **changes: Any) -> "Trial":
        """Return the trial with a deadline that another machine understands; monotonic clocks are a machine's own."""
        return replace(self, job=replace(self.job, deadline=None, time_of_day=time_of_day, **changes))

    def to_line(self) -> str:
        """Return the line of JSON that a worker reads."""
        job = self.job
        value = {
            "spec": self.spec.to_json(),
            "trust": self.spec.trust.to_json() if self.spec.trust else None,
            "trial": self.number,
            "out": str(job.out.absolute()),
            "device": job.device,
            "data_dir": str(job.data_dir.absolute()) if job.data_dir else None,
            "keep": job.keep,
            "controls": job.controls,
            "control_levels": job.control_levels,
            "checkpoint": job.checkpoint,
            "line": asdict(job.line) if job.line else None,
            "deadline": job.deadline,
            "time_of_day": job.time_of_day,
            "least_seconds": job.least_seconds,
            "data": dict(job.data),
        }
        return json.dumps(value) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "Trial":
        """Return the trial of a line; its job has what a worker needs."""
        value = json.loads(line)
        spec = Spec.from_json(value.pop("spec"))
        if (trust := value.pop("trust")) is not None:
            spec = spec.trusted(Trust.from_json(trust))
        number, data_dir = value.pop("trial"), value.pop("data_dir")
        job = Job(
            specs=(spec,),
            out=Path(value.pop("out")),
            data_dir=Path(data_dir) if data_dir else None,
            keep=tuple(value.pop("keep")),
            controls=tuple(value.pop("controls")),
            control_levels=_tuple(value.pop("control_levels")),
            line=_line(value.pop("line")),
            **value,
        )
        return cls(spec=spec, number=number, job=job)


def _tuple(values: list[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)


def _line(value: dict[str, Any] | None) -> Line | None:
    if value is None:
        return None
    return Line(steps=tuple(value["steps"]), levels=_tuple(value["levels"]), points=value["points"])
