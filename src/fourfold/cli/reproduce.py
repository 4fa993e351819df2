"""`fourfold reproduce`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from fourfold.cli.arguments import AnyNumber, Flag, Maybe
from fourfold.cli.duration import format_duration
from fourfold.cli.machines import HERE, Flags, Machines
from fourfold.cli.printing import make_console
from fourfold.record import RunStore, Spec, UserError
from fourfold.record.errors import unknown

if TYPE_CHECKING:
    from fourfold.report.paper_figures import PaperFigure

CLAIMS = "claims"


def command(
    what: Annotated[Maybe[str], tyro.conf.Positional, tyro.conf.arg(metavar="FIGURE|TABLE|claims")] = None,
    runs: Annotated[AnyNumber[Path], tyro.conf.Positional, tyro.conf.arg(metavar="RUN…")] = (),
    scale: float = 1.0,
    dry_run: Flag = False,
    out: Maybe[Path] = None,
    machines: Flags = HERE,
) -> None:
    """Reproduce a figure or a table of the two papers, or judge their claims by the rows there are.

    A figure runs what is missing of its experiments (the same command resumes after an interruption) and draws our
    counterpart with the published curve behind it. Without a name, all names are listed.

    Args:
        what: A figure such as p1-fig4c, a table (p1-table1, p2-params), or claims.
        runs: For claims: folders of runs, or folders that hold them; default runs.
        scale: A smaller version of a figure, such as 0.1: fewer trials, epochs and levels, under names of their own.
        dry_run: Say how long each figure will take on this machine, and stop.
        out: Folder of the runs, and of the report below it (default runs); for claims, of the report (default report).
        machines: What runs trials, and how long it may.
    """
    from fourfold.report.paper_figures import FIGURES, TABLES

    given = next((f"--{name}" for name, is_given in {"scale": scale != 1, "dry-run": dry_run}.items() if is_given), None)
    given = given or machines.first_given
    console = make_console(None if sys.stdout.isatty() else 200)
    if what == CLAIMS:
        if given:
            raise UserError(f"`claims` are judged by rows that are there: {given} is for figures")
        _claims(console, runs or (Path("runs"),), out or Path("report"))
        return
    if runs:
        raise UserError(
            f"{what} takes no folders of runs (={', '.join(map(str, runs))}): they are for `claims`, --out is for figures"
        )
    if what in TABLES:
        if given or out is not None:
            raise UserError(f"{what} is computed from the models: {given or '--out'} is for figures")
        _table(console, what)
        return
    if what is not None and what not in FIGURES:
        raise unknown("figure or table", what, [*FIGURES, *TABLES, CLAIMS], "`fourfold reproduce` describes them")
    if what is None and not dry_run:
        if given or out is not None:
            raise UserError(f"{given or '--out'} needs a figure; `fourfold reproduce` lists them")
        _list(console)
        return
    from fourfold.report.scaling import check_scale

    check_scale(scale)
    machines.check_early(dry_run=dry_run)
    folder = out or Path("runs")
    chosen = FIGURES if what is None else {what: FIGURES[what]}
    first = next(iter(chosen.values()))
    machines.job(_specs(first, scale), trials=_trials(first, scale))
    _forecast(console, chosen, scale, folder, machines)
    if what is not None and not dry_run:
        _run(console, what, scale, folder, machines)


def _run(console: Console, name: str, scale: float, out: Path, machines: Machines) -> None:
    """Run what is missing of a figure, write its report and say where its pictures are."""
    from fourfold import execution, report
    from fourfold.cli.live import follow
    from fourfold.report.paper_figures import FIGURES

    figure, trials = FIGURES[name], _trials(FIGURES[name], scale)
    to_run, there = _split(figure, scale, out)
    rows = []
    if to_run:
        with follow(console, to_run, trials, out) as on_event:
            rows = execution.run_job(machines.job(to_run, trials=trials, out=out), on_event)
    if rows or there:
        label = name if scale == 1 else f"{name}-scale-{scale:g}"
        folders = [out / spec.id for spec in (*there, *to_run)]
        page = report.build(folders, out / f"{label}-report")
        console.print(report.summary(row for run in report.read_runs(folders) for row in run.rows))
        for picture in sorted((page.parent / "figures").glob("*.png")):
            if any(picture.stem.endswith(f"-{kind}") for kind in figure.pictures):
                console.print(f"figure  {picture}")
        console.print(f"page    {page}")
    if any(RunStore.expecting(out, spec).failure(trial) for spec in to_run for trial in range(trials)):
        sys.exit(1)


def _forecast(console: Console, figures: "dict[str, PaperFigure]", scale: float, out: Path, machines: Machines) -> None:
    """Print how much of each figure is left and about how long it takes."""
    from fourfold.report.forecast import forecast
    from fourfold.timing.clock import Clock

    clock, workers = Clock(machines.place), machines.at_a_time
    for name, figure in figures.items():
        trials = _trials(figure, scale)
        to_run, there = _split(figure, scale, out)
        left = forecast(to_run, trials=trials, out=out, clock=clock, workers=workers)
        done = f", {left.levels_done} done already" if left.levels_done else ""
        presets = ", ".join(dict.fromkeys(spec.preset for spec in (*to_run, *there)))
        console.print(
            f"{name:13}  about {format_duration(left.seconds)} for {left.levels} levels{done}, {workers} at a time: {presets}; "
            f"{trials} trial{'s' if trials > 1 else ''} of each, {' and '.join(figure.algebras)}",
        )


def _specs(figure: "PaperFigure", scale: float) -> list[Spec]:
    """Return the experiments of a figure, to the last level that it needs."""
    return [spec if figure.last_level is None else _bounded(spec, figure.last_level) for spec in _whole(figure, scale)]


def _whole(figure: "PaperFigure", scale: float) -> list[Spec]:
    from fourfold import presets
    from fourfold.report.scaling import scaled

    return [scaled(presets.get(preset, algebra=algebra), scale) for preset in figure.presets for algebra in figure.algebras]


def _bounded(spec: Spec, last_level: int) -> Spec:
    return replace(spec, stop=replace(spec.stop, max_level=last_level))


def _split(figure: "PaperFigure", scale: float, out: Path) -> tuple[list[Spec], list[Spec]]:
    """Return the experiments that have to be run, and those whose longer run has every level that the figure needs."""
    to_run: list[Spec] = []
    there: list[Spec] = []
    for whole, spec in zip(_whole(figure, scale), _specs(figure, scale), strict=True):
        store = RunStore.expecting(out, whole)
        enough = figure.last_level is not None and all(
            len(store.rows(trial)) > figure.last_level for trial in range(_trials(figure, scale))
        )
        (there if enough else to_run).append(whole if enough else spec)
    return to_run, there


def _trials(figure: "PaperFigure", scale: float) -> int:
    from fourfold.report.scaling import scaled_trials

    return scaled_trials(figure.trials, scale)


def _claims(console: Console, runs: tuple[Path, ...], out: Path) -> None:
    from fourfold import report
    from fourfold.report.claims import count_sentence, judge, ours_in_words, theirs_in_words

    page = report.build(runs, out, every_claim=True)
    judged = judge(report.experiments(report.read_runs(runs)))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("claim", "our rows", "what they say", "their data", "command for more rows"):
        table.add_column(column)
    for one in judged:
        table.add_row(one.name, one.verdict, ours_in_words(one), theirs_in_words(one), one.command or "")
    console.print(table)
    console.print(f"\n{count_sentence(judged)}\nclaims  {out / 'claims.md'}\npage    {page}")


def _table(console: Console, name: str) -> None:
    from fourfold.cli.info import paper_1_table, paper_2_table

    console.print({"p1-table1": paper_1_table, "p2-params": paper_2_table}[name]())


def _list(console: Console) -> None:
    from fourfold.report.paper_figures import FIGURES, TABLES

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "what it shows", "experiments", "trials"):
        table.add_column(column, no_wrap=column == "name")
    for name, figure in FIGURES.items():
        table.add_row(name, figure.shows, ", ".join(figure.presets), str(figure.trials))
    for name, shows in TABLES.items():
        table.add_row(name, shows, "", "")
    table.add_row(CLAIMS, "every claim of both papers that rows can test, by the rows there are", "", "")
    console.print(table)
