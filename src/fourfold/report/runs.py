"""Runs on disk, each read once: its spec, its rows, its failures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fourfold.record import TICKET, ConnectivityRow, OverlapRow, Row, Spec, UserError, find_runs
from fourfold.record.examples import Examples


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that one run has on disk."""

    id: str
    spec: Spec
    rows: tuple[Row, ...]
    """By trial, the ticket's before the controls', then by level."""
    failures: dict[int, str]
    """Why a trial ended before its time, such as `level 3: the loss became nan`."""
    connectivity: tuple[ConnectivityRow, ...] = ()
    """By trial, level and step."""
    overlaps: tuple[OverlapRow, ...] = ()
    """Of trials of one folder."""
    examples: Mapping[int, Examples] = field(default_factory=dict)
    """What trial 0 says of a few items of the test set, by level."""


def check_same_data(dataset: str, named: Iterable[tuple[str, str | None]]) -> None:
    """Check that what is compared was trained and tested on the same images and labels.

    Args:
        dataset: The name that they go by.
        named: Runs, and the SHA-256 that a row of theirs names; older rows name none and are compared with all.

    Raises:
        UserError: two rows name different data.
    """
    runs_of: dict[str, str] = {}
    for run, digest in named:
        if digest is not None:
            runs_of.setdefault(digest, run)
    if len(runs_of) > 1:
        (one, first), (other, second), *_ = runs_of.items()
        of = f"levels of {first}" if first == second else f"{first} and {second}"
        raise UserError(f"{of} are of different {dataset} data (SHA-256 {one[:8]} and {other[:8]}): they cannot be compared")


def _check_same_metric(run: str, rows: Iterable[Row]) -> None:
    """Raise `UserError` if rows of one run are judged by different metrics, as after an edit of its task."""
    metrics = {row.metric: row.metric.label for row in rows}
    if len(metrics) > 1:
        raise UserError(f"levels of {run} are judged by different metrics ({' and '.join(metrics.values())}): name other runs")


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
    connectivity: dict[tuple[str, int, int, int], ConnectivityRow] = {}
    overlaps: dict[tuple[str, tuple[int, int], int], OverlapRow] = {}
    examples: dict[str, dict[int, Examples]] = {}
    for store in find_runs(*paths):
        spec = store.spec()
        run = spec.id
        specs[run] = spec
        known = rows.setdefault(run, {})
        for trial, control in [*((trial, TICKET) for trial in store.trials()), *store.controls()]:
            for row in store.rows(trial) if control == TICKET else store.control_rows(trial, control):
                place, other = known.setdefault((trial, control != TICKET, control, row.level), (store.path, row))
                if other is not row and not other.same_result(row):
                    raise UserError(
                        f"trial {trial} of {run} lies in {place} and in {store.path} with different results; name one of them"
                    )
        for line in (line for trial in store.trials() for line in store.connectivity(trial)):
            connectivity[run, line.trial, line.level, line.connectivity.step] = line
        overlaps |= {(run, pair.trials, pair.level): pair for pair in store.overlaps()}
        examples.setdefault(run, {}).update({level: store.examples(level) for level in store.example_levels()})
        reasons = {trial: store.failure(trial) for trial in store.trials()}
        failures.setdefault(run, {}).update({trial: reason for trial, reason in reasons.items() if reason is not None})
    for run, known in rows.items():
        measured = [(line.run, line.data) for line in connectivity.values() if line.run == run]
        check_same_data(specs[run].data.name, [*((run, row.data) for _, row in known.values()), *measured])
        _check_same_metric(run, [row for _, row in known.values()])
    return tuple(
        Run(
            id=run,
            spec=specs[run],
            rows=tuple(row for _, (_, row) in sorted(rows[run].items(), key=lambda item: item[0])),
            failures=dict(sorted(failures[run].items())),
            connectivity=tuple(row for key, row in sorted(connectivity.items(), key=lambda item: item[0]) if key[0] == run),
            overlaps=tuple(row for key, row in sorted(overlaps.items(), key=lambda item: item[0]) if key[0] == run),
            examples=examples[run],
        )
        for run in sorted(specs)
    )
