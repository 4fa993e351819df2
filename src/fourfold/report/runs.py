"""Runs on disk, each read once: its spec, its rows, its failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fourfold.record import TICKET, Row, Spec, UserError, find_runs


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that one run has on disk."""

    id: str
    spec: Spec
    rows: tuple[Row, ...]
    """By trial, the ticket's before the controls', then by level."""
    failures: dict[int, str]
    """Why a trial ended before its time, such as `level 3: the loss became nan`."""


def read_runs(paths: Sequence[Path]) -> tuple[Run, ...]:
    """Return every run at or below the paths, ordered by id.

    A run may lie in several folders (started here, copied there): trials are joined, and a level that lies in two is
    counted once.

    Raises:
        UserError: a path does not exist, a file cannot be read, a folder holds rows of another run than its spec's, or
            one level of a trial lies in two folders with different results.
    """
    specs: dict[str, Spec] = {}
    rows: dict[str, dict[tuple[int, bool, str, int], tuple[Path, Row]]] = {}
    failures: dict[str, dict[int, str]] = {}
    for store in find_runs(*paths):
        spec = store.spec()
        run = spec.id
        specs[run] = spec
        known = rows.setdefault(run, {})
        for trial, control in [*((trial, TICKET) for trial in store.trials()), *store.controls()]:
            for row in store.rows(trial) if control == TICKET else store.control_rows(trial, control):
                if (row.run, row.trial, row.control) != (run, trial, control):
                    raise UserError(f"{store.path} holds rows of another run than its spec's, {run}; move them apart")
                place, other = known.setdefault((trial, control != TICKET, control, row.level), (store.path, row))
                if other.result() != row.result():
                    raise UserError(
                        f"trial {trial} of {run} lies in {place} and in {store.path} with different results; name one of them"
                    )
        reasons = {trial: store.failure(trial) for trial in store.trials()}
        failures.setdefault(run, {}).update({trial: reason for trial, reason in reasons.items() if reason is not None})
    return tuple(
        Run(
            id=run,
            spec=specs[run],
            rows=tuple(row for _, (_, row) in sorted(rows[run].items(), key=lambda item: item[0])),
            failures=dict(sorted(failures[run].items())),
        )
        for run in sorted(specs)
    )
