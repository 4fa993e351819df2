"""`fourfold status`."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from fourfold.record import RunStore, UserError, find_runs


def command(runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)) -> None:
    """Show how far runs have come: trials, levels, the weights and accuracy of the last level.

    Args:
        runs: Folders of runs, or folders that hold them.
    """
    stores = find_runs(*runs)
    if not stores:
        raise UserError(f"there are no runs in {', '.join(map(str, runs))}; `fourfold run digits` makes one")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("run", "trial", "levels", "fraction of real", "top-1", "state"):
        table.add_column(column, no_wrap=True)
    for store in stores:
        _add(table, store)
    Console(soft_wrap=True, width=200).print(table)


def _add(table: Table, store: RunStore) -> None:
    try:
        store.spec()
    except UserError as error:
        table.add_row(store.path.name, "", "", "", "", str(error))
        return
    running = store.locked("run")
    trials = store.trials()
    for trial in trials:
        rows = store.rows(trial)
        failure = store.failure(trial)
        if failure:
            state = f"failed at {failure}"
        elif store.finished(trial):
            state = "finished"
        else:
            state = "running" if running else "unfinished: the same command goes on"
        last = rows[-1] if rows else None
        table.add_row(
            store.path.name,
            str(trial),
            str(len(rows)),
            f"{100 * last.fraction_of_real:.2f} %" if last else "",
            f"{last.top1:.2f} %" if last else "",
            state,
        )
    if not trials:
        table.add_row(store.path.name, "", "0", "", "", "running" if running else "nothing finished yet")
