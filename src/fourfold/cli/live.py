"""What a run shows while it runs: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table
from rich.text import Text

from fourfold import report
from fourfold.execution import Event
from fourfold.record import TICKET, TOP1, Metric, Row, RunStore, Spec, Value, get_field
from fourfold.record.text import plain
from fourfold.report.compare import at_fraction
from fourfold.report.experiments import settings_told

SHOWN = 8
"""Running trials that are named, and notes that stay; a cluster has hundreds."""


@contextmanager
def follow(console: Console, specs: Sequence[Spec], trials: int, out: Path) -> Iterator[Callable[[Event], None]]:
    """Yield the function that takes the run's events and shows them."""
    board = _Board(
        specs, [row for spec in specs for trial in range(trials) for row in RunStore.expecting(out, spec).rows(trial)]
    )
    if not console.is_terminal:
        names = names_of(specs)
        yield lambda event: _print_line(console, event, names)
        return
    with Live(board, console=console, refresh_per_second=4, transient=False):
        yield board.take


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
            elif event.kind in ("failed", "broken", "out-of-time", "stopped"):
                console.print(f"{name}: {_ending(event)}")

        yield take


def names_of(specs: Sequence[Spec]) -> dict[str, str]:
    """Return what the trials of each run go by: its algebra, and in what it differs from the other runs of that algebra."""
    names = {}
    for spec in specs:
        algebra = spec.model.algebra
        settings = settings_told(spec, [other for other in specs if other.model.algebra == algebra])
        names[spec.id] = f"{algebra} ({settings})" if settings else algebra
    return names


def engines_of(rows: Iterable[Row]) -> str:
    """Return the names of the engines that trained some rows."""
    return ", ".join(sorted({row.provenance.engine for row in rows if row.provenance.engine}))


def short(value: Value) -> str:
    """Return a value of a spec for a line or a cell."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_line(console: Console, event: Event, names: Mapping[str, str]) -> None:
    control = "" if event.control == TICKET else f" {event.control}"
    name = f"{names.get(event.spec.id, event.spec.model.algebra)} trial {event.trial}{control}"
    row = event.row
    if row:
        console.print(
            f"{name} level {row.level}: {100 * row.fraction_of_real:.2f} % of real, density {100 * row.density:.2f} %, "
            f"{row.metric.short} {row.metric.text(row.value)} ({_how_long(row)}){_collapse(row)}",
        )
    elif event.kind == "cluster":
        console.print(event.message)
    elif event.kind == "notice":
        console.print(f"{event.spec.data.name if event.trial is None else name}: {event.message}")
    elif event.kind == "kept":
        console.print(f"{name} level {event.level}: {event.message}")
    elif event.kind == "resumed":
        console.print(f"{name}: level {event.level} resumes at {event.message}")
    elif event.kind in ("failed", "broken", "out-of-time", "stopped"):
        console.print(f"{name}: {_ending(event)}")


def _how_long(row: Row) -> str:
    """Return how long a level took, and by which engine, such as `1.2 s, native`."""
    engine = f", {row.provenance.engine}" if row.provenance.engine else ""
    return f"{row.provenance.seconds:.1f} s{engine}"


def _collapse(row: Row) -> str:
    return f"; no weight is left in {', '.join(row.collapsed)}" if row.collapsed else ""


def _ending(event: Event) -> str:
    if event.kind == "failed":
        return f"failed at {event.message}"
    if event.kind == "broken":
        return f"ended by an error: {event.message}"
    why = "the time budget is spent" if event.kind == "out-of-time" else "stopped"
    return f"{why} at {event.message}" if event.message else why


def _number(metric: Metric, value: float) -> str:
    return f"{value:.2f}" if metric.is_percent else f"{value:.4g}"


def _validation(row: Row) -> str:
    """Return the metric on the held-out items, which rows of sweeps have."""
    assert row.validation is not None
    return row.metric.text(row.validation)


class _Board:
    """All levels so far, one line a level, and below them what is running."""

    def __init__(self, specs: Sequence[Spec], rows: list[Row]) -> None:
        self.names = names_of(specs)
        self.algebras = {spec.id: spec.model.algebra for spec in specs}
        self.rows = rows
        self.running: dict[tuple[str, int], str] = {}
        self.notes: list[str] = []
        self.cluster = ""
        self.start = time.monotonic()

    def take(self, event: Event) -> None:
        """Take note of an event."""
        if event.kind == "cluster":
            self.cluster = f"{event.message} · "
        elif event.trial is None:
            self.notes.append(f"{event.spec.data.name}: {event.message}")
        else:
            self._take_of_trial(event, event.trial)

    def _take_of_trial(self, event: Event, trial: int) -> None:
        key = (self.names.get(event.spec.id, event.spec.model.algebra), trial)
        if event.row:
            if event.control == TICKET:
                self.rows.append(event.row)
            if event.row.collapsed:
                self.notes.append(f"{key[0]} trial {key[1]} level {event.row.level}{_collapse(event.row)}")
            self.running[key] = f"level {event.row.level + 1}"
        elif event.kind == "epoch":
            epochs = event.spec.train.epochs
            control = "" if event.control == TICKET else f"{event.control} "
            measured = f"top-1 {event.top1:.1f} %" if event.top1 is not None else f"metric {event.value:.4g}"
            self.running[key] = f"{control}level {event.level}, epoch {event.epoch} of {epochs}, {measured}"
        elif event.kind == "kept":
            self.notes.append(f"{key[0]} trial {key[1]} level {event.level}: {event.message}")
        elif event.kind in ("checkpoint", "resumed"):
            control = "" if event.control == TICKET else f"{event.control} "
            what = "saved at" if event.kind == "checkpoint" else "resumes at"
            self.running[key] = f"{control}level {event.level}, {what} {event.message}"
        elif event.kind == "notice":
            self.notes.append(f"{key[0]} trial {key[1]}: {event.message}")
        else:
            self.running.pop(key, None)
            if event.kind != "finished":
                self.notes.append(f"{key[0]} trial {key[1]}: {_ending(event)}")

    def __rich__(self) -> Group:
        """Return what is drawn now."""
        seconds = round(time.monotonic() - self.start)
        running = [f"{name} trial {trial}: {what}" for (name, trial), what in self.running.items()]
        others = [f"{len(running) - SHOWN} more"] if len(running) > SHOWN else []
        told = " · ".join(running[:SHOWN] + others) or "starting"
        lines = [Text(plain(note)) for note in self.notes[-SHOWN:]]
        return Group(self._table(), *lines, Text(plain(f"{seconds // 60}:{seconds % 60:02} {self.cluster}{told}"), style="dim"))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("level", justify="right")
        metric = self.rows[0].metric if self.rows else TOP1
        reals = [run for run, algebra in self.algebras.items() if algebra == "real"]
        twin = reals[0] if len(reals) == 1 else None
        for run, name in self.names.items():
            table.add_column(f"{name}: % of real", justify="right")
            table.add_column(f"{metric.short} ± std (trials)", justify="right")
            if twin is not None and run != twin:
                table.add_column("gap at equal % of real", justify="right")
        table.add_column("engine")
        curves = {curve.run: curve for curve in report.curves(self.rows)} if self.rows else {}
        real = curves.get(twin) if twin is not None else None
        for level in range(max((row.level for row in self.rows), default=-1) + 1):
            cells = [str(level)]
            for run in self.names:
                point = next((p for p in curves[run].points if p.level == level), None) if run in curves else None
                compared = twin is not None and run != twin
                if point is None:
                    cells += [""] * (3 if compared else 2)
                    continue
                std = "" if point.top1.std is None else f" ± {_number(metric, point.top1.std)}"
                mean = _number(metric, point.top1.mean)
                cells += [f"{100 * point.fraction_of_real:.2f}", f"{mean}{std} ({point.top1.n})"]
                if compared:
                    at = at_fraction(real, point.fraction_of_real) if real else None
                    gap = point.top1.mean - at.top1 if at else 0.0
                    cells.append(f"{gap:+.2f}" if at and metric.is_percent else f"{gap:+.4g}" if at else "")
            table.add_row(*cells, engines_of(row for row in self.rows if row.level == level))
        return table
