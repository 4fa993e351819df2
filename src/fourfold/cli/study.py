"""`fourfold study`."""

from pathlib import Path
from typing import Annotated

import tyro

from fourfold.cli.arguments import Flag, Maybe
from fourfold.cli.changes import changed
from fourfold.cli.experiments import one_sentence, one_spec
from fourfold.cli.machines import HERE, Flags
from fourfold.cli.plan import print_plan
from fourfold.cli.printing import WIDTH, make_console, print_table, titled
from fourfold.cli.streams import passing
from fourfold.record import UserError
from fourfold.record.errors import canonical, unknown


def command(
    name: Annotated[Maybe[str], tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")] = None,
    base: str = "digits",
    trials: int = 5,
    epochs: Maybe[int] = None,
    prune_fraction: Maybe[float] = None,
    max_level: Maybe[int] = None,
    out: Path = Path("runs"),
    dry_run: Flag = False,
    machines: Flags = HERE,
) -> None:
    """Ask what makes a network win or lose under pruning: variants of a preset side by side, with intervals.

    Without a name, the studies are listed. What is on disk is not run again. Variants that the network does not have, such as
    octonions in the Lenets, are left out with a sentence.

    Args:
        name: The study.
        base: The preset that it is asked of, or an experiment of your own, such as roads.py.
        trials: Trials of each variant.
        epochs: Epochs of each training; default as the preset.
        prune_fraction: Part of the remaining weights that each level removes; default as the preset.
        max_level: The last level in any case; default as the preset.
        out: Folder of the runs; the report is written below it too.
        dry_run: Print the plan and stop.
        machines: What runs trials, and how long it may.
    """
    if name is not None:
        machines.check_early(dry_run=dry_run)

    from fourfold import execution, report, timing
    from fourfold.cli.event_text import names_of
    from fourfold.cli.live import follow
    from fourfold.presets import studies

    console = make_console(WIDTH)
    if name is None:
        for known, study in studies.STUDIES.items():
            console.print(f"{known:16}{study.question}")
        return
    name = canonical(name, studies.STUDIES)
    if name not in studies.STUDIES:
        raise unknown("study", name, studies.STUDIES, "`fourfold study` describes them")
    study = studies.STUDIES[name]
    changes = {"epochs": epochs, "prune_fraction": prune_fraction, "max_level": max_level}
    spec = changed(one_spec("--base", base), changes)
    console.print(titled(name, f" of {spec.preset}: {study.question}"))
    if any(value is not None for value in changes.values()):
        settings = ", ".join(f"{field} {value}" for field, value in changes.items() if value is not None)
        console.print(f"  with {settings}, for every variant")
    variants = []
    first, *others = studies.specs(name, spec)
    for variant in (first, *others):
        try:
            machines.job([variant], trials=trials)
        except UserError as error:
            if variant.model.algebra == first.model.algebra:
                raise  # without it there is no question
            console.print(f"  without {variant.model.algebra}: {error}")
        else:
            variants.append(variant)
    job = machines.job(variants, trials=trials, out=out)
    with passing("measuring speed …"):
        plans = timing.plan(variants, trials=trials, out=out, device=machines.place, data_dir=machines.data_dir)
    print_plan(console, plans, list(names_of(variants).values()), trials, machines.at_a_time, machines.data_dir)
    if dry_run:
        return
    following = follow(console, variants, trials, out, job=job, plans=plans, workers=machines.at_a_time)
    with following as on_event, one_sentence(variants):
        rows = execution.run_job(job, on_event)
    if not rows:
        return
    folders = [out / variant.id for variant in variants]
    (experiment,) = report.read_experiments(folders)
    if any(curve.run == variants[0].id for curve in experiment.tickets):
        for table in report.study_tables(experiment, variants[0].id, study.equal):
            print_table(console, table)
    page = report.build(folders, out / f"{variants[0].preset}-report")
    console.print(f"\npage    {page}")
