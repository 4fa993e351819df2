"""`fourfold run`."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fourfold.cli.arguments import AnyNumber, Flag, Maybe
from fourfold.cli.changes import changed, parse_settings
from fourfold.cli.duration import format_duration
from fourfold.cli.experiments import one_sentence, specs_for
from fourfold.cli.levels import parse_levels
from fourfold.cli.machines import HERE, Flags
from fourfold.cli.plan import print_plan
from fourfold.cli.printing import count, make_console
from fourfold.cli.streams import passing
from fourfold.record import TICKET, RunStore, UserError, launched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fourfold.execution import Event
    from fourfold.timing import Plan

MOST_LEVELS = 1000
"""That `--keep all` keeps of an experiment without a last level: all that there can be."""


def command(
    preset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")],
    settings: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="set", metavar="FIELD=VALUE")] = (),
    algebra: Maybe[tuple[str, ...]] = None,
    trials: int = 5,
    out: Path = Path("runs"),
    parts: Maybe[int] = None,
    keep: AnyNumber[str] = (),
    data: Maybe[str] = None,
    model: Maybe[str] = None,
    task: Maybe[str] = None,
    size: Maybe[int] = None,
    bad_images: Maybe[str] = None,
    accept_changed_code: Flag = False,
    dry_run: Flag = False,
    epochs: Maybe[int] = None,
    learning_rate: Maybe[float] = None,
    precision: Maybe[str] = None,
    prune_fraction: Maybe[float] = None,
    max_level: Maybe[int] = None,
    protocol: str = "text",
    controls: AnyNumber[str] = (),
    control_levels: tuple[str, ...] = ("all",),
    classes: AnyNumber[int] = (),
    track: AnyNumber[str] = (),
    track_dir: Maybe[Path] = None,
    machines: Flags = HERE,
) -> None:
    """Train, prune, rewind and train again, level after level, in every algebra named.

    What is on disk already is not run again: the same command resumes after Ctrl-C, a crash or a spent budget, and its
    rows are those of a run that was never interrupted. Ends with exit code 1 if a trial failed for good. Under torchrun all
    processes train one network after the other together.

    Args:
        preset: An experiment of `fourfold presets`; a file whose function `experiment` returns one, as `fourfold new` writes
            it; or classify or regress, with --data and --model.
        settings: Any field of its spec, by its name in spec.json: prune.score=synflow, data.crop=2.
        algebra: Algebras to compare, of which phm is learned; default real and quaternion.
        trials: Trials (seeds) of each algebra.
        out: Folder of the runs; the report is written below it too.
        parts: Under torchrun, parts of each batch, which the processes share; more need less memory.
        keep: Levels whose trained weights are kept, without the pruned ones, or all; those that are done are trained again.
        data: Data of your own: photos/ (a folder of class folders, with --size where images differ in size), data.npz, or
            roads.py:data.
        model: A network of `fourfold info`, or one of your own, as roads.py:net.
        task: What the network is asked: a task by name, or one of your own, as roads.py:task.
        size: Height and width that the images of a folder are brought to, by --set data.resize=crop, fit or stretch.
        bad_images: What becomes of damaged images of a folder; refuse, the default, names one and stops.
        accept_changed_code: Resume although the code of your own has changed since the run began.
        dry_run: Print the plan and stop.
        epochs: Epochs of each training; default as the preset.
        learning_rate: Step size at the start; default as the preset.
        precision: Of the networks' products, tf32 on a GPU alone; default as the preset.
        prune_fraction: Part of the remaining weights that each level removes; default as the preset.
        max_level: The last level in any case; default as the preset.
        protocol: Whether to follow the paper's text or its released code.
        controls: What to hold the tickets against once a trial has ended.
        control_levels: Levels that controls are run for, or all.
        classes: Some classes alone: a number of them, drawn once and for all, or two labels and more.
        track: Trackers that get the metrics, too.
        track_dir: Where trackers put their files; default `tracking` below the runs' folder.
        machines: What runs trials, and how long it may.
    """
    machines.check_early(dry_run=dry_run)

    from fourfold import execution, presets, report, timing
    from fourfold.cli.event_text import names_of
    from fourfold.cli.live import follow

    changes = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "precision": precision,
        "prune_fraction": prune_fraction,
        "max_level": max_level,
    }
    fields = parse_settings(settings, presets.PRESETS)
    if classes:
        if "data.classes" in fields:
            raise UserError("`--classes` cannot be combined with `--set data.classes`: both set it")
        fields["data.classes"] = classes[0] if len(classes) == 1 else classes
    for flag, name, value in (("--size", "data.size", size), ("--bad-images", "data.bad_images", bad_images)):
        if value is not None and name in fields:
            raise UserError(f"`{flag}` (={value}) cannot be combined with `--set {name}`: both set it")
        if value is not None:
            fields[name] = value
    own = {"data": data, "model": model, "task": task}
    specs = [changed(spec, changes, fields) for spec in specs_for(preset, algebra, protocol, own)]
    levels = parse_levels("--control-levels", control_levels)
    kept = parse_levels("--keep", keep)
    if kept is None:
        kept = tuple(range(1 + min(MOST_LEVELS if spec.stop.max_level is None else spec.stop.max_level for spec in specs)))
    execution.check_trackers(track)
    if track_dir and not track:
        raise UserError(f"`--track-dir` (={track_dir}) must come with --track: it is where trackers put their files")
    if levels is not None and not controls:
        raise UserError(f"`--control-levels` (={' '.join(control_levels)}) must come with --controls, which it is for")
    job = machines.job(
        specs,
        trials=trials,
        out=out,
        keep=kept,
        controls=controls,
        control_levels=levels,
        parts=parts,
        accept_changed_code=accept_changed_code,
    )
    launch = launched()
    is_first = launch is None or launch.rank == 0
    console = make_console()
    plans: Sequence[Plan] = ()
    if is_first:
        with passing("measuring speed …"):
            plans = timing.plan(
                specs,
                trials=trials,
                out=out,
                device=machines.place,
                data_dir=machines.data_dir,
                controls=controls,
                control_levels=levels,
            )
        print_plan(console, plans, list(names_of(specs).values()), trials, machines.at_a_time, machines.data_dir)
        if settings:
            console.print(f"  with {', '.join(settings)}")
        if controls:
            of = "all levels" if levels is None else f"levels {', '.join(map(str, levels))}"
            seconds = sum(plan.control_seconds for plan in plans) / min(machines.at_a_time, trials * len(plans))
            console.print(f"  then, of {of}, {', '.join(controls)}: about {format_duration(seconds)}")
        if launch:
            console.print(f"  {count(launch.world, 'rank')} share each training; the estimate is that of one")
    if dry_run:
        return
    following = follow(console, specs, trials, out, job=job, plans=plans, workers=machines.at_a_time)
    with (
        following if is_first else nullcontext(_say_nothing) as show,
        execution.tracked(track if is_first else (), track_dir or out / "tracking", show) as on_event,
        one_sentence(specs),
    ):
        rows = execution.run_job(job, on_event)
    if not is_first:
        return
    if rows:
        console.print()
        console.print(report.summary(row for row in rows if row.control == TICKET))
        page = report.build([out / spec.id for spec in specs], out / f"{specs[0].preset}-report")
        console.print(f"\nfigure  {page.parent / 'figures'}\npage    {page}")
    stores = [RunStore.expecting(out, spec) for spec in specs]
    for store in stores:
        for sentence in _never_reached(store, trials, () if keep == ("all",) else kept):
            console.print(sentence)
    if any(store.failure(trial) for store in stores for trial in range(trials)):
        sys.exit(1)
    if not (controls and levels and all(store.finished(trial) for store in stores for trial in range(trials))):
        return
    last = max(len(store.rows(trial)) for store in stores for trial in range(trials)) - 1
    if max(levels) > last:
        raise UserError(f"`--control-levels` (={max(levels)}) must be at most {last}, the last level of all trials")


def _never_reached(store: RunStore, trials: int, keep: tuple[int, ...]) -> list[str]:
    """Return a sentence for each level that was to be kept and that trials ended before."""
    ended = [trial for trial in range(trials) if store.finished(trial) or store.failure(trial)]
    sentences = []
    for level in keep:
        before = [str(trial) for trial in ended if len(store.rows(trial)) <= level]
        if before:
            trial = f"trial{'' if len(before) == 1 else 's'} {', '.join(before)}"
            sentences.append(f"{store.path.name}: {trial} ended before level {level}, of which nothing is kept")
    return sentences


def _say_nothing(event: "Event") -> None:
    """Leave what happens to the first rank to show."""
