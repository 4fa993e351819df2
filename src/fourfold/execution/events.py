"""`Event`: something that happened in a trial, as workers and clusters tell it in lines of JSON."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fourfold.execution.jobs import Trial
from fourfold.record import TICKET, Row, Spec, UserError

ENDINGS = ("finished", "failed", "broken", "out-of-time", "stopped")
"""The kinds of event after which a trial has no other."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a trial."""

    kind: str
    """epoch, row, kept (a level that was done), connectivity, checkpoint (was written), resumed (a level, from one),
    finished, failed (for good: the loss became nan), broken (by the user's code, or by the death of its worker), out-of-time,
    stopped (by Ctrl-C), notice (of data, machines or a checkpoint), or cluster (what it consists of from now on)."""
    spec: Spec
    trial: int | None = None
    control: str = TICKET
    """The control that an epoch is of."""
    level: int | None = None
    epoch: int | None = None
    top1: float | None = None
    value: float | None = None
    """The task's metric after the epoch; None means `top1`."""
    row: Row | None = None
    message: str | None = None
    details: str | None = None
    """Of a trial that is broken: the traceback."""


class WorkerTracebackError(Exception):
    """Where something was raised in a worker: its traceback, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def broken_trials(events: Sequence[Event], safe: str) -> UserError | None:
    """Return the sentence for trials that are broken; None if there is none. Its cause is the traceback, where there is one.

    Args:
        events: All of the kind `broken`.
        safe: What is on disk: `rows`.
    """
    if not events:
        return None
    first = events[0]
    error = UserError(
        f"trial {first.trial} of {first.spec.id}: {first.message}; all {safe} so far are safe, the same command resumes"
    )
    error.__cause__ = WorkerTracebackError(first.details) if first.details else None
    return error


OnEvent = Callable[[Event], None]


def event_of(trial: Trial, value: dict[str, Any]) -> Event:
    """Return a message of a worker about a trial as an event.

    Raises:
        UserError: it met a mistake of the user's, which ends the run.
        RuntimeError: it crashed.
    """
    if value["event"] == "error":
        raise UserError(value["message"])
    if value["event"] == "crash":
        raise RuntimeError(f"trial {trial.number} of {trial.spec.id} crashed in its worker:\n{value['message']}")
    row = Row.from_line(value["line"]) if "line" in value else None
    return Event(
        kind=value["event"],
        spec=trial.spec,
        trial=trial.number,
        control=row.control if row else value.get("control", TICKET),
        level=row.level if row else value.get("level"),
        epoch=value.get("epoch"),
        top1=value.get("top1"),
        value=value.get("value"),
        row=row,
        message=value.get("message"),
        details=value.get("details"),
    )
