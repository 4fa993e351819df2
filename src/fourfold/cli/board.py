"""The live table: the newest levels that fit the terminal, what is to be known, and below them time and running trials."""

import time
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from fourfold import report
from fourfold.cli.duration import format_duration
from fourfold.cli.event_text import UNFINISHED, collapse_of, ending_of, engines_of, names_of, number
from fourfold.cli.outlook import Key, Outlook, Turns
from fourfold.execution import Event
from fourfold.execution.events import ENDINGS
from fourfold.record import TICKET, TOP1, Row, Spec
from fourfold.record.text import plain
from fourfold.report.compare import at_fraction

SHOWN = 8
"""Running trials that are named, and notes that stay; a cluster has hundreds."""

STATUS_PART, NOTES_PART = 5, 4
"""At most one in so many lines of the terminal are for the status, and for notes."""

LAYOUTS = (
    ("{name}: % of real", "{metric} ± std (trials)", "gap at equal % of real", "engine"),
    ("{name}\n% of real", "\n{metric} ± std (n)", "\ngap", ""),
    ("", "{name}\n{metric} ± std", "", ""),
)
"""Headings of a run's columns and of the last one, the widest first; without a heading there is no column."""


class Board:
    """All levels so far, one line a level, and below them what is running.

    Args:
        specs: The experiments.
        rows: Those that are on disk.
        turns: The trials in the order in which they are taken; None where that is not known.
        outlook: How long it takes; None where that was not planned.
    """

    def __init__(
        self, specs: Sequence[Spec], rows: list[Row], turns: Turns | None = None, outlook: Outlook | None = None
    ) -> None:
        self.names = names_of(specs)
        self.algebras = {spec.id: spec.model.algebra for spec in specs}
        self.rows = rows
        self.running: dict[Key, str] = {}
        self.notes: list[str] = []
        self.cluster = ""
        self.whole = False
        """Whether all levels are shown, whatever the terminal's height is, as at the end."""
        self._turns, self._outlook = turns, outlook
        self._start = time.monotonic()
        for key in turns.begin() if turns else ():
            self._begin(key)

    def take(self, event: Event) -> None:
        """Take note of an event."""
        if self._outlook:
            self._outlook.take(event)
        if event.kind == "cluster":
            self.cluster = f"{event.message} · "
        elif event.trial is None:
            self.notes.append(f"{event.spec.data.name}: {event.message}")
        else:
            self._take_of_trial(event, event.trial)

    def _begin(self, key: Key) -> None:
        """Note that a trial is at work, before it says so itself."""
        levels = sum((row.run, row.trial) == key for row in self.rows)
        self.running[key] = f"level {levels}"

    def _take_of_trial(self, event: Event, trial: int) -> None:
        key = (event.spec.id, trial)
        name = f"{self.names.get(event.spec.id, event.spec.model.algebra)} trial {trial}"
        control = "" if event.control == TICKET else f"{event.control} "
        if event.row:
            if event.control == TICKET:
                self.rows.append(event.row)
            if event.row.collapsed:
                self.notes.append(f"{name} level {event.row.level}{collapse_of(event.row)}")
            self.running[key] = f"level {event.row.level + 1}"
        elif event.kind == "epoch":
            epochs = event.spec.train.epochs
            measured = f"top-1 {event.top1:.1f} %" if event.top1 is not None else f"metric {event.value:.4g}"
            self.running[key] = f"{control}level {event.level}, epoch {event.epoch} of {epochs}, {measured}"
        elif event.kind == "kept":
            self.notes.append(f"{name} level {event.level}: {event.message}")
        elif event.kind in ("checkpoint", "resumed"):
            what = "saved at" if event.kind == "checkpoint" else "resumes at"
            self.running[key] = f"{control}level {event.level}, {what} {event.message}"
        elif event.kind == "notice":
            self.notes.append(f"{name}: {event.message}")
        else:
            self.running.pop(key, None)
            if event.kind in UNFINISHED:
                self.notes.append(f"{name}: {ending_of(event)}")
            following = self._turns.next() if self._turns and event.kind in ENDINGS else None
            if following is not None and event.kind not in ("out-of-time", "stopped"):
                self._begin(following)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield what is drawn now: of the levels the newest that fit, and always the status."""
        height = console.size.height - 1
        status = Text(plain(self._status()), style="dim")
        lines = status.wrap(console, options.max_width)
        notes = self.notes[-min(SHOWN, height // NOTES_PART) :]
        if self.whole:
            yield self._table(console, options, None)
            yield from (Text(plain(note)) for note in self.notes[-SHOWN:])
            yield status
            return
        kept = lines[: max(1, height // STATUS_PART)]
        yield self._table(console, options, height - len(notes) - len(kept))
        yield from (Text(plain(note), no_wrap=True, overflow="ellipsis") for note in notes)
        yield from kept

    def _status(self) -> str:
        seconds = round(time.monotonic() - self._start)
        left = self._outlook.seconds if self._outlook and not self.whole else None
        about = "" if left is None else f"about {format_duration(left)} left · "
        names = [f"{self.names.get(run, run)} trial {trial}: {what}" for (run, trial), what in self.running.items()]
        others = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
        running = " · ".join(names[:SHOWN] + others) or ("ended" if self.whole else "starting")
        return f"{seconds // 60}:{seconds % 60:02} · {about}{self.cluster}{running}"

    def _table(self, console: Console, options: ConsoleOptions, height: int | None) -> Table:
        """Return the table in the widest layout that fits, with as many of the newest levels as the height leaves room for."""
        wide = options.update(width=10_000)
        for headings in LAYOUTS:
            table = self._table_as(headings, height)
            if console.measure(table, options=wide).maximum <= options.max_width:
                break
        return table

    def _table_as(self, headings: tuple[str, str, str, str], height: int | None) -> Table:
        fraction, mean, gap, engine = headings
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("level", justify="right", no_wrap=True)
        metric = self.rows[0].metric if self.rows else TOP1
        reals = [run for run, algebra in self.algebras.items() if algebra == "real"]
        twin = reals[0] if len(reals) == 1 else None
        for run, name in self.names.items():
            compared = twin is not None and run != twin
            for heading in (fraction, mean, gap if compared else ""):
                if heading:
                    table.add_column(heading.format(name=name, metric=metric.short), justify="right", no_wrap=True)
        if engine:
            table.add_column(engine, no_wrap=True)
        for cells in self._lines(headings, twin, height):
            table.add_row(*cells)
        return table

    def _lines(self, headings: tuple[str, str, str, str], twin: str | None, height: int | None) -> Iterator[list[str]]:
        """Yield the cells of each level that is shown, after a line for those that are not."""
        fraction, mean, gap, engine = headings
        count = 1 + max((row.level for row in self.rows), default=-1)
        first = 0
        if height is not None:
            room = max(1, height - 1 - max(heading.count("\n") for heading in headings))
            first = 0 if count <= room else count - max(1, room - 1)
        if first and (height or 0) > 2:
            yield [f"0–{first - 1}"]
        metric = self.rows[0].metric if self.rows else TOP1
        curves = {curve.run: curve for curve in report.curves(self.rows)} if self.rows else {}
        real = curves.get(twin) if twin is not None else None
        for level in range(first, count):
            cells = [str(level)]
            for run in self.names:
                compared = twin is not None and run != twin
                point = next((p for p in curves[run].points if p.level == level), None) if run in curves else None
                if point is None:
                    cells += [""] * sum(map(bool, (fraction, mean, gap if compared else "")))
                    continue
                std = "" if point.top1.std is None else f" ± {number(metric, point.top1.std)}"
                trials = f" ({point.top1.n})" if fraction else ""
                cells += [f"{100 * point.fraction_of_real:.2f}"] if fraction else []
                cells.append(f"{number(metric, point.top1.mean)}{std}{trials}")
                if compared and gap:
                    at = at_fraction(real, point.fraction_of_real) if real else None
                    difference = point.top1.mean - at.top1 if at else 0.0
                    cells.append("" if not at else f"{difference:+.2f}" if metric.is_percent else f"{difference:+.4g}")
            yield [*cells, engines_of(row for row in self.rows if row.level == level)] if engine else cells
