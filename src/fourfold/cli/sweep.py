"""`fourfold sweep`."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from fourfold.cli.arguments import Flag, Maybe
from fourfold.cli.duration import format_duration
from fourfold.cli.experiments import one_sentence, specs_for
from fourfold.cli.machines import HERE, Flags
from fourfold.cli.plan import data_sentences
from fourfold.cli.printing import count, make_console, titled
from fourfold.cli.streams import passing
from fourfold.record import TOP1, Spec, UserError

if TYPE_CHECKING:
    from fourfold.timing import Plan


def command(
    preset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")],
    settings: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="set", metavar="FIELD=VALUES")] = (),
    algebra: Maybe[tuple[str, ...]] = None,
    trials: int = 3,
    level: int = 0,
    optuna: Annotated[Maybe[int], tyro.conf.arg(aliases=("--study",))] = None,
    seed: Maybe[int] = None,
    validation: Maybe[int] = None,
    protocol: str = "text",
    out: Path = Path("runs"),
    dry_run: Flag = False,
    machines: Flags = HERE,
) -> None:
    """Find the settings that suit each algebra: a grid, or a study that chooses its points, with equal budgets.

    Points are compared by their accuracy on training images that are held out; the test set decides nothing. Every point is
    an ordinary run in the same folder, so the same command resumes where it stopped, and `fourfold report` reads them.

    Args:
        preset: An experiment of `fourfold presets`, or one of your own, such as roads.py.
        settings: A field of the spec and its values: train.learning_rate=3e-4,1e-3 or, with --optuna, a range low:high or
            low:high:log. One value fixes a field. Name each field once.
        algebra: Algebras to find settings for; default real and quaternion, or what a file with several experiments names.
        trials: Trials (seeds) of each point.
        level: The level whose accuracy counts (or the metric of another task), and to which every point is trained; 0 is dense.
        optuna: Points that a study of Optuna evaluates in each algebra, instead of a grid; a larger number extends the study.
        seed: Decides what the study chooses; default 0.
        validation: Training images to hold out; default as the preset, or a tenth; of data with their own part, none.
        protocol: Whether to follow the paper's text or its released code.
        out: Folder of the runs.
        dry_run: Print the plan and stop.
        machines: What runs trials, and how long it may.
    """
    if optuna is None and seed is not None:
        raise UserError(f"`--seed` (={seed}) cannot be combined with a grid: it decides what a study chooses; add --optuna N")
    machines.check_early(dry_run=dry_run)

    from fourfold import execution, timing
    from fourfold.cli.live import follow_sweep
    from fourfold.cli.sweep_result import print_result
    from fourfold.tuning import sweep
    from fourfold.tuning.optuna_study import check_study, run_study

    space = sweep.parse_space(settings)
    specs = specs_for(preset, algebra, protocol, {})
    if len({spec.model.algebra for spec in specs}) < len(specs):
        raise UserError(f"`PRESET` (={preset!r}) must name one experiment for each algebra, and names several for one")
    bases = [sweep.base_of(spec, level=level, validation=validation) for spec in specs]
    sweep.check_space(bases, space, study=optuna is not None)
    if optuna is None:
        grid = sweep.grid(sweep.lists_of(space))
        points, known = len(grid), [sweep.at_point(base, each) for each in grid for base in bases]
    else:
        check_study(optuna)
        points, known = optuna, bases
    job = machines.job(known, trials=trials, out=out)
    console = make_console()
    _print_budget(console, known[: len(bases)], sweep.epochs_of(bases[0], space), points, trials, level, optuna is not None)
    with passing("measuring speed …"):
        plans = timing.plan(known[: len(bases)], trials=trials, out=out, device=machines.place, data_dir=machines.data_dir)
    for sentence in data_sentences(plans[0].spec, plans[0].items, machines.data_dir):
        console.print(f"  {sentence}")
    _print_time(console, plans, points * trials * (level + 1), machines.at_a_time, out)
    if dry_run:
        return
    deadline = None if machines.budget_seconds is None else time.monotonic() + machines.budget_seconds
    chosen = [name for name, values in space.items() if isinstance(values, sweep.Range) or len(values) > 1]
    with follow_sweep(console, chosen, points * len(bases) * trials * (level + 1)) as on_event:

        def run(specs: Sequence[Spec]) -> None:
            left = None if deadline is None else deadline - time.monotonic()
            if specs and (left is None or left > 0):
                with one_sentence(specs):
                    execution.run_job(replace(job, specs=tuple(specs), budget_seconds=left), on_event)

        if optuna is None:
            by_algebra = sweep.run_grid(bases, sweep.lists_of(space), trials=trials, out=out, run=run)
        else:
            by_algebra = run_study(bases, space, evaluations=optuna, trials=trials, seed=seed or 0, out=out, run=run)
    print_result(by_algebra, space, points)


def _print_budget(
    console: Console, specs: list[Spec], epochs: list[int], points: int, trials: int, level: int, is_study: bool
) -> None:
    from fourfold import tasks

    spec = specs[0]
    algebras = " and ".join(each.model.algebra for each in specs) + (" with equal budgets" if len(specs) > 1 else "")
    rest = (
        f": {spec.model.name} on {spec.data.name}; {algebras}: "
        f"{'a study' if is_study else 'a grid'} of {count(points, 'point')}, {count(trials, 'trial')} of each, "
        f"{' or '.join(map(str, epochs))} epoch{'' if epochs == [1] else 's'} a level, to level {level}"
    )
    console.print(titled(spec.preset, rest))
    images = f"{spec.data.validation:,} held-out training images" if spec.data.validation else "the validation part"
    metric = tasks.get(spec).metric
    by = "accuracy" if metric == TOP1 else f"{metric.label}{'' if metric.higher_is_better else ', less is better,'}"
    console.print(f"  compared by the {by} of level {level} on {images}, never by the test set")


def _print_time(console: Console, plans: "list[Plan]", levels: int, workers: int, out: Path) -> None:
    seconds = levels * sum(plan.level_seconds for plan in plans) / min(workers, levels * len(plans))
    console.print(f"  about {format_duration(seconds)} in all with {count(workers, 'trial')} at a time → {out}")
