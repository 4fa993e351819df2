"""A run's figures, also sent to an experiment tracker, off by default; rows on disk stay what counts.

Every trial (and every control of it) is one tracked run, named by the id of its spec and its number, so that a run that is
resumed continues the same tracked ones. Two axes: `epoch/…` by the epochs since the beginning of level 0, `level/…` by the
level. A tracker that fails gets nothing more, says so once, and never ends a run.
"""

import contextlib
import contextvars
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from fourfold.execution.events import Event, OnEvent
from fourfold.record import TICKET, Row, Spec, UserError
from fourfold.record.errors import unknown

PROJECT = "fourfold"

Axis = Literal["epoch", "level"]


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """One tracked run."""

    name: str
    """The spec's id, the trial, and the control if it is one: the same whenever the run is resumed."""
    spec: Spec
    first_epoch: int
    """The first epoch that this process sends; what an interrupted process sent from there on is trained again."""


class Tracker(Protocol):
    """What a tracker is asked to do; any of it may raise."""

    def log(self, run: Tracked, axis: Axis, step: int, figures: Mapping[str, float]) -> None:
        """Take figures of a run at a step of an axis."""

    def close(self) -> None:
        """Send what is left and end all runs."""


class TensorBoard:
    """Event files, one folder a tracked run, for `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder, self._make = folder / "tensorboard", SummaryWriter
        self._writers: dict[str, Any] = {}

    def log(self, run: Tracked, axis: Axis, step: int, figures: Mapping[str, float]) -> None:
        """Write figures."""
        if run.name not in self._writers:
            self._writers[run.name] = self._make(str(self._folder / run.name), purge_step=run.first_epoch)
        for name, value in figures.items():
            self._writers[run.name].add_scalar(f"{axis}/{name}", value, step)
        self._writers[run.name].flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()


class WeightsAndBiases:
    """Runs of W&B, of the account and in the mode that its own settings and environment say."""

    def __init__(self, folder: Path) -> None:
        import wandb

        self._folder, self._init = folder, wandb.init
        self._runs: dict[str, Any] = {}

    def log(self, run: Tracked, axis: Axis, step: int, figures: Mapping[str, float]) -> None:
        """Send figures; W&B's own steps only rise, so each axis is a figure too."""
        if run.name not in self._runs:
            self._folder.mkdir(parents=True, exist_ok=True)
            opened = self._init(
                project=PROJECT,
                dir=str(self._folder),
                id=run.name,
                name=run.name,
                group=run.spec.id,
                config=run.spec.to_json(),
                resume="allow",
                reinit="create_new",
            )
            for each in ("epoch", "level"):
                opened.define_metric(f"{each}/*", step_metric=f"{each}/number")
            self._runs[run.name] = opened
        self._runs[run.name].log({f"{axis}/{name}": value for name, value in figures.items()} | {f"{axis}/number": step})

    def close(self) -> None:
        """Finish the runs."""
        for run in self._runs.values():
            run.finish()


class MLflow:
    """Runs of MLflow, in `mlflow.db` unless $MLFLOW_TRACKING_URI names another place."""

    def __init__(self, folder: Path) -> None:
        from mlflow.tracking import MlflowClient

        if not os.environ.get("MLFLOW_TRACKING_URI"):
            folder.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute()}/mlflow.db")
        self._ids: dict[str, str] = {}

    def log(self, run: Tracked, axis: Axis, step: int, figures: Mapping[str, float]) -> None:
        """Send figures."""
        if run.name not in self._ids:
            self._ids[run.name] = self._open(run)
        for name, value in figures.items():
            self._client.log_metric(self._ids[run.name], f"{axis}/{name}", value, step=step)

    def _open(self, run: Tracked) -> str:
        """Return the id of the run with our name, which is a tag of it, made if there is none."""
        existing = self._client.get_experiment_by_name(PROJECT)
        experiment = existing.experiment_id if existing else self._client.create_experiment(PROJECT)
        runs = self._client.search_runs([experiment], filter_string=f"tags.`fourfold.run` = '{run.name}'")
        if runs:
            self._client.update_run(runs[0].info.run_id, status="RUNNING")
            return str(runs[0].info.run_id)
        tags = {"fourfold.run": run.name, "fourfold.spec": run.spec.id}
        return str(self._client.create_run(experiment, tags=tags, run_name=run.name).info.run_id)

    def close(self) -> None:
        """End the runs."""
        for each in self._ids.values():
            self._client.set_terminated(each)


class Trackio:
    """Runs of Trackio, in `trackio/` unless $TRACKIO_DIR or its other settings name another place."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(folder.absolute() / "trackio"))
        import trackio

        self._init = trackio.init
        self._runs: dict[str, Any] = {}

    def log(self, run: Tracked, axis: Axis, step: int, figures: Mapping[str, float]) -> None:
        """Send figures."""
        if run.name not in self._runs:
            # Trackio ends the run that its context knows when another begins; each of ours has a context of its own.
            self._runs[run.name] = contextvars.Context().run(
                self._init, project=PROJECT, name=run.name, group=run.spec.id, config=run.spec.to_json(), resume="allow"
            )
        self._runs[run.name].log({f"{axis}/{name}": value for name, value in figures.items()}, step=step)

    def close(self) -> None:
        """Finish the runs."""
        for run in self._runs.values():
            run.finish()


MakeTracker = Callable[[Path], Tracker]

TRACKERS: dict[str, MakeTracker] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "trackio": Trackio,
}
"""Trackers by name, which is also that of the package and of the extra that installs it."""


def check_trackers(names: Sequence[str], trackers: Mapping[str, MakeTracker] = TRACKERS) -> None:
    """Raise `UserError` for a tracker that there is not, that is not installed, or that is named twice."""
    for name in names:
        if name not in trackers:
            raise unknown("tracker", name, trackers)
        if names.count(name) > 1:
            raise UserError(f"`track` (={list(names)}) names {name} twice")
        if importlib.util.find_spec(name) is None:
            raise UserError(f"`track` (={name!r}) is not installed; `pip install 'fourfold[{name}]'` adds it")


@contextlib.contextmanager
def tracked(
    names: Sequence[str], folder: Path, on_event: OnEvent, trackers: Mapping[str, MakeTracker] | None = None
) -> Iterator[OnEvent]:
    """Yield a function that passes events on, and sends accuracies of epochs and figures of rows to trackers.

    Args:
        names: Trackers, keys of `TRACKERS`; none sends nothing.
        folder: Where those that write files put them.
        on_event: Gets every event, and a notice if a tracker fails.
        trackers: Those that there are, by name; None means `TRACKERS`.

    Raises:
        UserError: a tracker is unknown or not installed.
    """
    trackers = TRACKERS if trackers is None else trackers
    check_trackers(names, trackers)
    sender = _Sender(names, folder, on_event, trackers)
    try:
        yield sender.take
    finally:
        sender.close()


class _Sender:
    def __init__(self, names: Sequence[str], folder: Path, on_event: OnEvent, trackers: Mapping[str, MakeTracker]) -> None:
        self._trackers = trackers
        self._waiting, self._folder, self._on_event = list(names), folder, on_event
        self._open: dict[str, Tracker] = {}
        self._runs: dict[str, Tracked] = {}
        self._last: Event | None = None

    def take(self, event: Event) -> None:
        """Pass an event on, then send what is in it."""
        self._on_event(event)
        if event.kind not in ("epoch", "row"):
            return
        self._last = event
        for name in self._waiting:
            self._try(name, partial(self._start, name))
        self._waiting = []
        run = self._run_of(event)
        for name, tracker in list(self._open.items()):
            self._try(name, partial(_send, tracker, run, event))

    def close(self) -> None:
        """End all trackers."""
        for name, tracker in list(self._open.items()):
            self._try(name, tracker.close)

    def _start(self, name: str) -> None:
        self._open[name] = self._trackers[name](self._folder)

    def _run_of(self, event: Event) -> Tracked:
        ending = "" if event.control == TICKET else f"-{event.control}"
        name = f"{event.spec.id}-{event.trial}{ending}"
        if name not in self._runs:
            self._runs[name] = Tracked(name=name, spec=event.spec, first_epoch=_epoch_number(event, event.epoch or 1))
        return self._runs[name]

    def _try(self, name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # whatever a server or a library does, the run continues
            self._open.pop(name, None)
            assert self._last is not None
            reason = str(error).partition("\n")[0] or type(error).__name__
            message = f"{name} failed ({reason}) and gets nothing more; the run continues"
            self._on_event(Event(kind="notice", spec=self._last.spec, message=message))


def _send(tracker: Tracker, run: Tracked, event: Event) -> None:
    if event.row is not None:
        tracker.log(run, "level", event.row.level, figures_of(event.row))
    elif event.epoch is not None:
        values = {"top1": event.top1, "metric": event.value}
        known = {name: value for name, value in values.items() if value is not None}
        tracker.log(run, "epoch", _epoch_number(event, event.epoch), known)


def _epoch_number(event: Event, epoch: int) -> int:
    """Return the epochs since the beginning of level 0, as if every level had all of its spec's."""
    return (event.level or 0) * event.spec.train.epochs + epoch


def figures_of(row: Row) -> dict[str, float]:
    """Return the figures of a row that are sent; those that it does not have are left out."""
    figures = {
        **{name: value for name, value in row.metrics.items() if name != "loss"},
        "validation": row.validation,
        "loss": row.loss,
        "train_loss": row.train_loss,
        "density": row.density,
        "fraction_of_real": row.fraction_of_real,
        "weights": row.weights,
        "parameters": row.parameters,
        "macs": row.macs,
        "stored_bytes": row.stored_bytes,
        "steps": row.steps,
        "seconds": row.provenance.seconds,
    }
    return {name: float(value) for name, value in figures.items() if value is not None}
