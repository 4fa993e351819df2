"""`fourfold status`."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from fourfold.record import RunStore, UserError, find_runs


def command(runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN…")] = (Path("runs"),)) -> None:
    """Show how far runs have come: trials, levels, the weights and accuracy of the last level, controls and their levels.

    Args:
        runs: Folders of runs, or folders that hold them.
    """
    stores = find_runs(*runs)
    if not stores:
        raise UserError(f"there are no runs in {', '.join(map(str, runs))}; `fourfold run digits` makes one")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("run", "trial", "levels", "fraction of real", "top-1", "state", "beside its tickets"):
        table.add_column(column, no_wrap=True)
    console = Console(soft_wrap=True, width=200)
    damaged = []
    for store in stores:
        try:
            for line in _lines(store):
                table.add_row(*line)
        except UserError as error:
            damaged.append(str(error))
    console.print(table)
    for sentence in damaged:
        console.print(sentence, highlight=False)


def _lines(store: RunStore) -> list[tuple[str, ...]]:
    """Return a line a trial, or one that says that there is none yet."""
    running = store.locked("run")
    lines: list[tuple[str, ...]] = []
    for trial in store.trials():
        rows = store.rows(trial)
        failure = store.failure(trial)
        if failure:
            state = f"failed at {failure}"
        elif store.finished(trial):
            state = "finished"
        else:
            state = "running" if running else "unfinished: the same command goes on"
        fraction, top1 = (f"{100 * rows[-1].fraction_of_real:.2f} %", f"{rows[-1].top1:.2f} %") if rows else ("", "")
        lines.append((store.path.name, str(trial), str(len(rows)), fraction, top1, state, _beside(store, trial)))
    return lines or [(store.spec().id, "", "0", "", "", "running" if running else "nothing finished yet", "")]


def _beside(store: RunStore, trial: int) -> str:
    """Return what else is known of a trial's levels, each with the number of its rows."""
    counts = {control: len(store.control_rows(trial, control)) for of, control in store.controls() if of == trial}
    counts["connectivity"] = len(store.connectivity(trial))
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)
