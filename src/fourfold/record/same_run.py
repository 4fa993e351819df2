"""Whether a run is resumed with the data and the code that it was started with."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from fourfold.record.errors import UserError
from fourfold.record.metric import Metric
from fourfold.record.references import changed as changed_code
from fourfold.record.references import is_code

if TYPE_CHECKING:
    from fourfold.record.store import RunStore


def check_data(store: "RunStore", name: str, data: str, trials: Iterable[int] | None) -> None:
    """Raise `UserError` if something on disk was trained or measured on other data; see `RunStore.check_data`.

    Args:
        store: The run.
        name: Of its data.
        data: SHA-256 of those that are here.
        trials: Trials whose rows are looked at; None means all.
    """
    for digest, what in _digests_of_data(store, trials):
        if digest not in (None, data):
            if is_code(name):
                advice = f"{name} must return the same at each call, so seed what it draws"
            elif "/" in name or name.endswith(".npz"):
                advice = f"bring {name} back to what it was"
            else:
                advice = "name the folder that has them with --data-dir"
            raise UserError(
                f"{what} in {store.path} is of other {name} data (SHA-256 {digest[:8]}) than those that are here "
                f"({data[:8]}); {advice}, or start afresh with another --out"
            )


def check_code(store: "RunStore", code: Mapping[str, str]) -> None:
    """Raise `UserError` if neither the run nor its last row knows some code; see `RunStore.check_code`."""
    started, last = store.code(), code_of_last_row(store)
    for source, digest in code.items():
        known = [digests[source] for digests in (started, last) if source in digests]
        if known and digest not in known:
            raise changed_code(source, known[-1], digest)


def check_metric(store: "RunStore", metric: Metric) -> None:
    """Raise `UserError` if rows of a run are judged by another metric than its task is now, as after an edit of its code.

    Args:
        store: The run.
        metric: Of its task.
    """
    for trial in store.trials():
        for row in store.rows(trial)[:1]:
            if row.metric != metric:
                raise UserError(
                    f"level {row.level} of trial {trial} in {store.path} is judged by {_of(row.metric)}, and the task by "
                    f"{_of(metric)} now: they cannot be compared; bring the task back to what it was, or start afresh with "
                    "another --out"
                )


def _of(metric: Metric) -> str:
    return f"{metric.label}{'' if metric.higher_is_better else ' (less is better)'}"


def code_of_last_row(store: "RunStore") -> dict[str, str]:
    """Return the SHA-256 of each file of user code of the row that was written last; empty where there is none."""
    rows = [row for trial in store.trials() for row in store.rows(trial)[-1:] if row.provenance.code]
    newest = max(rows, key=lambda row: row.provenance.finished, default=None)
    return (newest.provenance.code if newest else None) or {}


def _digests_of_data(store: "RunStore", trials: Iterable[int] | None) -> Iterator[tuple[str | None, str]]:
    """Yield which data the parts of a run say that they are of, and which part that is."""
    yield store.data(), "the run"
    for trial in store.trials() if trials is None else trials:
        yield from ((row.data, f"level {row.level} of trial {trial}") for row in store.rows(trial))
    if trials is None:
        for trial, control in store.controls():
            yield from ((row.data, f"{control} of trial {trial}") for row in store.control_rows(trial, control))
        for trial in store.trials():
            yield from ((row.data, f"the connectivity of trial {trial}") for row in store.connectivity(trial))
