"""`fourfold reproduce`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from fourfold.cli.arguments import AnyNumber, Flag, Maybe
from fourfold.cli.claims import command as claims
from fourfold.cli.duration import format_duration
from fourfold.cli.experiments import is_own, one_sentence, specs_for
from fourfold.cli.machines import HERE, Flags, Machines
from fourfold.cli.options import HIDDEN
from fourfold.cli.plan import data_sentences
from fourfold.cli.printing import count, make_console
from fourfold.cli.streams import passing
from fourfold.record import RunStore, Spec, UserError
from fourfold.record.errors import unknown

if TYPE_CHECKING:
    from fourfold.timing.clock import Clock

CLAIMS = "claims"
"""The name that `fourfold claims` had here, and that still works."""


def command(
    what: Annotated[Maybe[str], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None,
    runs: Annotated[AnyNumber[Path], tyro.conf.Positional, HIDDEN] = (),
    scale: float = 1.0,
    dry_run: Flag = False,
    out: Maybe[Path] = None,
    machines: Flags = HERE,
) -> None:
    """Reproduce a figure or a table of the two papers.

    A figure runs what is missing of its experiments (the same command resumes after an interruption) and draws our
    counterpart with the published curve behind it. A preset or an experiment of your own is run as its figure would be, which
    --scale makes smaller. Without a name, all names are listed.

    Args:
        what: A figure such as p1-fig4c, a table (p1-table1, p2-params), a preset, or an experiment of your own, such as
            roads.py.
        runs: Of claims, which earlier versions had here.
        scale: A smaller version of a figure, such as 0.1: fewer trials, epochs and levels, under names of their own.
        dry_run: Say how long each figure will take on this machine, and stop.
        out: Folder of the runs, and of the report below it; default runs.
        machines: What runs trials, and how long it may.
    """
    from fourfold.report.paper_figures import FIGURES, TABLES

    flags = {"--scale": scale != 1, "--dry-run": dry_run}
    first_flag = next((name for name, is_set in flags.items() if is_set), None) or machines.first_flag
    console = make_console(None if sys.stdout.isatty() else 200)
    if what == CLAIMS:
        if first_flag:
            raise UserError(f"`{first_flag}` cannot be combined with claims, which are judged by the rows there are")
        claims(runs or (Path("runs"),), out or Path("report"))
        return
    if runs:
        raise UserError(
            f"`{what}` cannot be combined with folders of runs (={', '.join(map(str, runs))}): `fourfold claims` takes them, "
            "and --out names that of a figure"
        )
    if what in TABLES:
        if first_flag or out is not None:
            raise UserError(f"`{first_flag or '--out'}` cannot be combined with {what}, which is computed from the models")
        _table(console, what)
        return
    if what is None and not dry_run:
        if first_flag or out is not None:
            raise UserError(f"`{first_flag or '--out'}` must come with a figure; `fourfold reproduce` lists them")
        _list(console)
        return
    from fourfold.report.scaling import check_scale

    check_scale(scale)
    machines.check_early(dry_run=dry_run)
    from fourfold.timing.clock import Clock  # and torch, which a cluster that does not answer spares

    folder = out or Path("runs")
    chosen = [_of_figure(name, scale) for name in FIGURES] if what is None else [_named(what, scale)]
    machines.job(chosen[0].specs, trials=chosen[0].trials)
    clock = Clock(machines.place, machines.data_dir)
    _forecast(console, chosen, folder, machines, clock)
    if what is not None and not dry_run:
        _run(console, chosen[0], folder, machines, clock)


@dataclass(frozen=True, kw_only=True)
class _FigureRuns:
    """The experiments of a figure, scaled."""

    name: str
    label: str
    """What the report's folder is named after."""
    whole: list[Spec]
    """To their stop rule."""
    trials: int
    pictures: tuple[str, ...] = ()
    """Which figures of our report are its counterpart, by name; empty means all."""
    last_level: int | None = None
    """The last level that it needs; None means to the stop rule."""

    @property
    def specs(self) -> list[Spec]:
        """The experiments, to the last level that is needed."""
        return [spec if self.last_level is None else _bounded(spec, self.last_level) for spec in self.whole]


def _named(name: str, scale: float) -> _FigureRuns:
    """Return what a figure, a preset or an experiment of the user's own asks for.

    Raises:
        UserError: it is none of them.
    """
    from fourfold.presets import PRESETS
    from fourfold.report.paper_figures import FIGURES, TABLES, TRIALS
    from fourfold.report.scaling import scaled, scaled_trials

    if name in FIGURES:
        return _of_figure(name, scale)
    if name not in PRESETS and not is_own(name):
        known = [*FIGURES, *TABLES, CLAIMS]
        raise unknown("figure or table", name, known, "`fourfold reproduce` describes them")
    specs = [scaled(spec, scale) for spec in specs_for(name, None, "text", {})]
    return _FigureRuns(name=name, label=specs[0].preset, whole=specs, trials=scaled_trials(TRIALS[1], scale))


def _of_figure(name: str, scale: float) -> _FigureRuns:
    from fourfold import presets
    from fourfold.report.paper_figures import FIGURES
    from fourfold.report.scaling import scaled, scaled_trials

    figure = FIGURES[name]
    return _FigureRuns(
        name=name,
        label=name if scale == 1 else f"{name}-scale-{scale:g}",
        whole=[scaled(presets.get(preset, algebra=algebra), scale) for preset in figure.presets for algebra in figure.algebras],
        trials=scaled_trials(figure.trials, scale),
        pictures=figure.pictures,
        last_level=figure.last_level,
    )


def _run(console: Console, figure: _FigureRuns, out: Path, machines: Machines, clock: "Clock") -> None:
    """Run what is missing of a figure, write its report and say where its pictures are."""
    from fourfold import execution, report, timing
    from fourfold.cli.live import follow

    trials = figure.trials
    to_run, there = _split(figure, out)
    rows = []
    if to_run:
        job = machines.job(to_run, trials=trials, out=out)
        plans = timing.plan(to_run, trials=trials, out=out, device=machines.place, clock=clock)
        following = follow(console, to_run, trials, out, job=job, plans=plans, workers=machines.at_a_time)
        with following as on_event, one_sentence(to_run):
            rows = execution.run_job(job, on_event)
    if rows or there:
        folders = [out / spec.id for spec in (*there, *to_run)]
        page = report.build(folders, out / f"{figure.label}-report")
        console.print(report.summary(row for run in report.read_runs(folders) for row in run.rows))
        for picture in sorted((page.parent / "figures").glob("*.png")):
            if not figure.pictures or any(picture.stem.endswith(f"-{kind}") for kind in figure.pictures):
                console.print(f"figure  {picture}")
        console.print(f"page    {page}")
    if any(RunStore.expecting(out, spec).failure(trial) for spec in to_run for trial in range(trials)):
        sys.exit(1)


def _forecast(console: Console, chosen: Sequence[_FigureRuns], out: Path, machines: Machines, clock: "Clock") -> None:
    """Print how much of each figure is left and about how long it takes."""
    from fourfold.report._forecast import forecast

    workers = machines.at_a_time
    sentences: list[str] = []
    for figure in chosen:
        trials = figure.trials
        to_run, there = _split(figure, out)
        with passing("measuring speed …"):
            left = forecast(to_run, trials=trials, out=out, clock=clock, workers=workers)
        done = f", {left.levels_done} done already" if left.levels_done else ""
        presets = ", ".join(dict.fromkeys(spec.preset for spec in (*to_run, *there)))
        algebras = " and ".join(dict.fromkeys(spec.model.algebra for spec in figure.whole))
        console.print(
            f"{figure.name:13}  about {format_duration(left.seconds)} for {left.levels} levels{done}, {workers} at a time: "
            f"{presets}; {count(trials, 'trial')} of each, {algebras}",
        )
        sentences += [line for spec in to_run for line in data_sentences(spec, clock.items(spec), machines.data_dir)]
    for sentence in dict.fromkeys(sentences):
        console.print(f"  {sentence}")


def _bounded(spec: Spec, last_level: int) -> Spec:
    return replace(spec, stop=replace(spec.stop, max_level=last_level))


def _split(figure: _FigureRuns, out: Path) -> tuple[list[Spec], list[Spec]]:
    """Return the experiments that have to be run, and those whose longer run has every level that the figure needs."""
    to_run: list[Spec] = []
    there: list[Spec] = []
    for whole, spec in zip(figure.whole, figure.specs, strict=True):
        store = RunStore.expecting(out, whole)
        enough = figure.last_level is not None and all(
            len(store.rows(trial)) > figure.last_level for trial in range(figure.trials)
        )
        (there if enough else to_run).append(whole if enough else spec)
    return to_run, there


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
    console.print(table)
