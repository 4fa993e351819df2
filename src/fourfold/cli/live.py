"""What a run shows while it runs: a live table on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import MofNCompleteColumn, Progress

from fourfold.cli.board import Board
from fourfold.cli.event_text import UNFINISHED, collapse_of, duration_of, ending_of, names_of, short
from fourfold.cli.outlook import Turns, outlook_of
from fourfold.execution import Event
from fourfold.record import TICKET, Row, RunStore, Spec, get_field, launched

if TYPE_CHECKING:
    from fourfold.execution import Job
    from fourfold.timing import Plan


@contextmanager
def follow(
    console: Console,
    specs: Sequence[Spec],
    trials: int,
    out: Path,
    *,
    job: "Job | None" = None,
    plans: "Sequence[Plan]" = (),
    workers: int = 1,
) -> Iterator[Callable[[Event], None]]:
    """Yield the function that takes the run's events and shows them.

    Args:
        console: Where.
        specs: The experiments.
        trials: Trials of each.
        out: Folder of the runs.
        job: What is to be done; with it the table shows from the start which trials are at work.
        plans: With a job, how long it was planned to take; with them the table shows how long it still takes.
        workers: Trials at a time.
    """
    if not console.is_terminal:
        names = names_of(specs)
        yield lambda event: _print_line(console, event, names)
        return
    rows = [row for spec in specs for trial in range(trials) for row in RunStore.expecting(out, spec).rows(trial)]
    turns = None if job is None else Turns(job, 0 if job.cluster else 1 if launched() else max(1, workers))
    outlook = outlook_of(turns, plans, workers) if turns and plans else None
    board = Board(specs, rows, turns, outlook)
    with Live(board, console=console, refresh_per_second=4, transient=False):
        try:
            yield board.take
        finally:
            board.whole = True


@contextmanager
def follow_sweep(console: Console, fields: Sequence[str], total: int) -> Iterator[Callable[[Event], None]]:
    """Yield the function that takes a sweep's events: a line a level, and on a terminal a bar of `total` levels below them."""
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("levels", total=total)
        clusters: list[str] = []

        def take(event: Event) -> None:
            settings = " ".join(f"{name}={short(get_field(event.spec, name))}" for name in fields)
            name = f"{event.spec.model.algebra} {settings} trial {event.trial}"
            row = event.row
            if row:
                progress.advance(task)
                console.print(
                    f"{name} level {row.level}: {_validation(row)} of the held-out images ({row.provenance.seconds:.1f} s)",
                )
            elif event.kind == "cluster" and event.message not in clusters[-1:]:  # a study joins it again and again
                clusters.append(str(event.message))
                console.print(event.message)
            elif event.kind == "notice":
                console.print(f"{event.spec.data.name if event.trial is None else name}: {event.message}")
            elif event.kind in UNFINISHED:
                console.print(f"{name}: {ending_of(event)}")

        yield take


def _print_line(console: Console, event: Event, names: Mapping[str, str]) -> None:
    control = "" if event.control == TICKET else f" {event.control}"
    name = f"{names.get(event.spec.id, event.spec.model.algebra)} trial {event.trial}{control}"
    row = event.row
    if row:
        console.print(
            f"{name} level {row.level}: {100 * row.fraction_of_real:.2f} % of real, density {100 * row.density:.2f} %, "
            f"{row.metric.short} {row.metric.text(row.value)} ({duration_of(row)}){collapse_of(row)}",
        )
    elif event.kind == "cluster":
        console.print(event.message)
    elif event.kind == "notice":
        console.print(f"{event.spec.data.name if event.trial is None else name}: {event.message}")
    elif event.kind == "kept":
        console.print(f"{name} level {event.level}: {event.message}")
    elif event.kind == "resumed":
        console.print(f"{name}: level {event.level} resumes at {event.message}")
    elif event.kind in UNFINISHED:
        console.print(f"{name}: {ending_of(event)}")


def _validation(row: Row) -> str:
    """Return the metric on the held-out items, which rows of sweeps have."""
    assert row.validation is not None
    return row.metric.text(row.validation)
