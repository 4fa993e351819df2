"""`fourfold stability`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.progress import Progress

from fourfold.cli.arguments import Flag, Maybe
from fourfold.cli.code import trusting
from fourfold.cli.duration import format_duration, parse_duration
from fourfold.cli.levels import parse_levels
from fourfold.cli.printing import WIDTH, count, make_console, print_table
from fourfold.record import RunStore, UserError, find_runs

if TYPE_CHECKING:
    from fourfold.lottery import Line


def _work(store: RunStore, line: "Line") -> tuple[int, float]:
    """Return how many measurements of a run are missing, and the seconds that their trainings take as its levels did."""
    from fourfold.lottery._stability import missing

    number, seconds = 0, 0.0
    for trial in store.trials():
        rows = store.rows(trial)
        for level, _ in missing(store, trial, line):
            number, seconds = number + 1, seconds + 2 * rows[level].provenance.seconds
    return number, seconds


def command(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN…")] = (Path("runs"),),
    steps: tuple[int, ...] = (0,),
    levels: tuple[str, ...] = ("all",),
    points: int = 11,
    device: str = "auto",
    data_dir: Maybe[Path] = None,
    workers: Maybe[int] = None,
    budget: Maybe[str] = None,
    dry_run: Flag = False,
    code: Maybe[Path] = None,
    trust_code: Flag = False,
) -> None:
    """Train two copies of every level in different orders of images, measure what lies between them, and compare masks.

    The barrier is the rise of the test error on the straight line between the copies over the mean of its ends, in points (of
    another metric than accuracy, in its unit): near zero, both found the same valley (Frankle et al. 2020). Beside it stands
    how many weights the masks of two trials share (both / either), and how many they would share by chance. What is measured
    lies in the runs' folders, is not measured again, and appears in `fourfold report`.

    Args:
        runs: Folders of runs, or folders that hold them.
        steps: Optimiser steps up to which the copies are one network; each is two trainings a level.
        levels: Levels to measure, or all.
        points: Networks on the line, both ends included.
        device: auto (CUDA where there is one), cpu, cuda or cuda:N.
        data_dir: Where data sets lie; default $FOURFOLD_DATA, else the cache, with download.
        workers: Trials at a time; default one a core, or one on a GPU.
        budget: Stop cleanly within this time, such as 9m or 1h30m.
        dry_run: Print the plan and stop.
        code: The file of your own code that the run names, such as roads.py.
        trust_code: Import the code that the run names, from the current folder, whatever it is.
    """
    budget_seconds = None if budget is None else parse_duration(budget)

    from fourfold import execution, lottery, report
    from fourfold.lottery._stability import check_line

    stores = trusting(find_runs(*runs), code, trust_code)
    if not stores:
        raise UserError(f"there are no runs in {', '.join(map(str, runs))}; `fourfold run digits` makes one")
    line = lottery.Line(steps=steps, levels=parse_levels("--levels", levels), points=points)
    for store in stores:
        check_line(store, line)
    console = make_console(WIDTH)
    total, seconds = 0, 0.0
    for store in stores:
        steps_of_run, seconds_of_run = _work(store, line)
        console.print(f"  {store.path.name}: {count(steps_of_run, 'measurement')} of two trainings each")
        total, seconds = total + steps_of_run, seconds + seconds_of_run
    if total:
        console.print(f"  about {format_duration(seconds)} of one core, by the time that the runs' levels took")
    if dry_run:
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=total)

        def on_event(event: execution.Event) -> None:
            name = f"{event.spec.preset} {event.spec.model.algebra} trial {event.trial}"
            if event.kind == "connectivity":
                progress.advance(task)
                console.print(f"{name} level {event.level}, {event.message}")
            elif event.kind in ("failed", "broken", "out-of-time"):
                why = event.message if event.kind != "out-of-time" else "the time budget is spent; the same command resumes"
                console.print(f"{name}: {why}")

        execution.stability(
            stores,
            line,
            device=device,
            data_dir=data_dir,
            workers=workers,
            budget_seconds=budget_seconds,
            on_event=on_event,
        )
    for experiment in report.read_experiments(runs):
        comparison = report.stability_table(experiment)
        if comparison is not None:
            print_table(console, replace(comparison, title=f"{experiment.preset}: {experiment.title}"))
