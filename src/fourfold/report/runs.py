"""Runs on disk, each read once: its spec, its rows, its failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fourfold.record import Row, Spec, UserError, find_runs


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that one run has on disk."""

    id: str
    spec: Spec
    rows: tuple[Row, ...]
    """By trial, then level."""
    failures: dict[int, str]
    """Why a trial ended before its time, such as `level 3: the loss became nan`."""


def read_runs(paths: Sequence[Path]) -> tuple[Run, ...]:
    """Return every run at or below the paths, ordered by id.

    A run may lie in several folders (started here, copied there): trials are joined, and a trial that lies in two is
    counted once.

    Raises:
        UserError: a path does not exist, a file cannot be read, a folder holds rows of another run than its spec's, or
            one trial lies in two folders with different results.
    """
    specs: dict[str, Spec] = {}
    trials: dict[str, dict[int, tuple[Path, list[Row]]]] = {}
    failures: dict[str, dict[int, str]] = {}
    for store in find_runs(*paths):
        spec = store.spec()
        run = spec.id
        specs[run] = spec
        known = trials.setdefault(run, {})
        for trial in store.trials():
            rows = store.rows(trial)
            if any((row.run, row.trial) != (run, trial) for row in rows):
                raise UserError(f"{store.path} holds rows of another run than its spec's, {run}; move them apart")
            known[trial] = (store.path, _longer(known[trial], (store.path, rows)) if trial in known else rows)
        reasons = {trial: store.failure(trial) for trial in store.trials()}
        failures.setdefault(run, {}).update({trial: reason for trial, reason in reasons.items() if reason is not None})
    return tuple(
        Run(
            id=run,
            spec=specs[run],
            rows=tuple(row for _, (_, rows) in sorted(trials[run].items()) for row in rows),
            failures=dict(sorted(failures[run].items())),
        )
        for run in sorted(specs)
    )


def _longer(one: tuple[Path, list[Row]], other: tuple[Path, list[Row]]) -> list[Row]:
    """Return the rows of the copy that went further; what both have must be equal."""
    if any(a.result() != b.result() for a, b in zip(one[1], other[1], strict=False)):
        row = one[1][0]
        raise UserError(
            f"trial {row.trial} of {row.run} lies in {one[0]} and in {other[0]} with different results; name one of them"
        )
    return max(one[1], other[1], key=len)
