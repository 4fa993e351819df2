"""`fourfold status`."""

import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from fourfold.cli.printing import make_console
from fourfold.cli.streams import say
from fourfold.record import TICKET, TOP1, Row, RunStore, UserError, find_runs
from fourfold.record.checkpoints import where
from fourfold.record.text import shortened

COLUMNS = ("run", "trial", "levels", "fraction of real", "top-1", "engine", "state", "beside its tickets")


def command(runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN…")] = (Path("runs"),)) -> None:
    """Show how far runs have come: trials, levels, size, accuracy and engine of the last level, controls and their levels.

    Ends with exit code 1 if a run or a folder cannot be read.

    Args:
        runs: Folders of runs, or folders that hold them.
    """
    damaged: list[str] = []
    stores = find_runs(*runs, without_spec=True, unread=damaged)
    if not stores and not damaged:
        raise UserError(f"there are no runs in {', '.join(map(str, runs))}; `fourfold run digits` makes one")
    lines: list[tuple[str, ...]] = []
    for store in stores:
        try:
            lines += _lines(store)
        except UserError as error:
            damaged.append(str(error))
    console = make_console(soft_wrap=False)
    _print(console, lines)
    for sentence in damaged:
        say(f"fourfold: {shortened(sentence)}", sys.stderr)
    if damaged:
        sys.exit(1)


def _print(console: Console, lines: list[tuple[str, ...]]) -> None:
    """Print a table of which nothing is cut off; where a terminal is narrow its last column is wrapped, and no other."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, *cells in zip(COLUMNS, *lines, strict=True):
        least = max(map(len, (column, *cells))) if column != COLUMNS[-1] else len(column)
        table.add_column(column, min_width=least)
    for line in lines:
        table.add_row(*line)
    measured = console.measure(table, options=console.options.update(width=10_000))
    console.width = max(console.width, measured.minimum) if console.is_terminal else measured.maximum
    console.print(table, soft_wrap=True)


def _measured(row: Row) -> str:
    """Return a row's metric, by name where it is not the one that the column has."""
    return f"{'' if row.metric == TOP1 else f'{row.metric.short} '}{row.metric.text(row.value)}"


def _lines(store: RunStore) -> list[tuple[str, ...]]:
    """Return a line a trial, or one that says that there is none yet."""
    running = store.locked("run")
    lines: list[tuple[str, ...]] = []
    places = _places(store)
    for trial in sorted({*store.trials(), *places}):
        rows = store.rows(trial)
        failure = store.failure(trial)
        if failure:
            state = f"failed at {failure}"
        elif store.finished(trial):
            state = "finished"
        else:
            state = "running" if running else "unfinished: the same command resumes"
            state += "".join(f"; {place}" for place in places.get(trial, ()))
        fraction, top1 = (f"{100 * rows[-1].fraction_of_real:.2f} %", _measured(rows[-1])) if rows else ("", "")
        engine = rows[-1].provenance.engine or "" if rows else ""
        lines.append((store.path.name, str(trial), str(len(rows)), fraction, top1, engine, state, _beside(store, trial)))
    return lines or [(store.spec().id, "", "0", "", "", "", "running" if running else "nothing finished yet", "")]


def _places(store: RunStore) -> dict[int, list[str]]:
    """Return where the trials are that have a checkpoint inside a level, in words."""
    positions: dict[int, list[str]] = {}
    for training, position in store.checkpoints.positions().items():
        if training.control == TICKET and training.level < len(store.rows(training.trial)):
            continue  # the next run sweeps it
        control = "" if training.control == TICKET else f"{training.control} "
        stage = f" ({training.stage})" if training.stage else ""
        positions.setdefault(training.trial, []).append(f"{control}level {training.level}{stage} saved at {where(position)}")
    return positions


def _beside(store: RunStore, trial: int) -> str:
    """Return what else is known of a trial's levels, each with the number of its rows."""
    counts = {control: len(store.control_rows(trial, control)) for of, control in store.controls() if of == trial}
    counts["connectivity"] = len(store.connectivity(trial))
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)
