"""The plan of a run on a terminal: what is trained, how far, and about how long that takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from fourfold.cli.duration import format_duration
from fourfold.cli.printing import count, titled
from fourfold.record import Spec

if TYPE_CHECKING:
    from fourfold.timing import Plan


def print_plan(
    console: Console, plans: "Sequence[Plan]", names: Sequence[str], trials: int, workers: int, data_dir: Path | None = None
) -> None:
    """Print the plans of specs that share preset, network and data, a line each under its name, and the time of all."""
    spec = plans[0].spec
    rest = (
        f": {spec.model.name} on {spec.data.name}, {count(trials, 'trial')} of each, "
        f"{100 * spec.prune.fraction:g} % of the remaining weights pruned a level, {_until(spec)}"
    )
    console.print(titled(spec.preset, rest))
    for sentence in data_sentences(spec, plans[0].items, data_dir):
        console.print(f"  {sentence}")
    end = "" if spec.stop.max_level is not None else " to 2 % of real"
    width = max(10, *map(len, names))
    for plan, name in zip(plans, names, strict=True):
        percent = 100 * plan.sizes.parameters / plan.sizes_real.parameters
        engine = f" by the {plan.engine} engine" if plan.engine else ""
        levels = f"{count(plan.levels, 'level')}{end}, the dense one of {format_duration(plan.level_seconds)}{engine}"
        done = f", {plan.levels_done} levels done already" if plan.levels_done else ""
        console.print(
            f"  {name:{width}} {plan.sizes.weights:>10,} weights ({percent:5.1f} % of real's parameters), "
            f"{plan.sizes.macs:,} MACs; {levels}{done} → {plan.folder}",
        )
    seconds = sum(plan.seconds for plan in plans) / min(workers, trials * len(plans))
    console.print(f"  about {format_duration(seconds)} left{end} with {count(workers, 'trial')} at a time")
    in_bf16 = [plan.seconds * plan.bf16_level_seconds / plan.level_seconds for plan in plans if plan.bf16_level_seconds]
    if seconds and len(in_bf16) == len(plans):
        part = sum(in_bf16) / sum(plan.seconds for plan in plans)
        console.print(
            f"  this processor multiplies bfloat16: --precision bf16 would take {part:.2f} of that; "
            "docs/studies.md says what it costs in accuracy",
        )


def data_sentences(spec: Spec, items: tuple[int, int], data_dir: Path | None = None) -> list[str]:
    """Return what is to be said of a spec's data: that they are not there, or are not as many as the official ones.

    Args:
        spec: The experiment.
        items: Training and test items that there are, see `Plan.items`.
        data_dir: Where data sets lie; None means `$FOURFOLD_DATA`, else the cache.
    """
    from fourfold import data
    from fourfold.data.official import SOURCES
    from fourfold.data.places import absence, archives_here, missing

    name = spec.data.name
    if name not in SOURCES:
        return []
    directory = data.data_directory(data_dir)
    if absent := missing(name, directory):
        if archives_here(name, directory):
            return [f"{name} is unpacked in {directory} first"]
        if SOURCES[name].url is None:
            return [f"{absence(name, directory, absent[0].name)}; nothing can be trained without it"]
        return [f"{name} is not in {directory}: it is downloaded first, and the time assumes the official sizes"]
    official = data.info_for(spec.data)
    if items != (official.train_images, official.test_images):
        here = f"{items[0]:,} training and {items[1]:,} test images of {name} are in {directory}"
        return [f"{here}, of {official.train_images:,} and {official.test_images:,} official ones"]
    return []


def _until(spec: Spec) -> str:
    from fourfold.tasks import get

    stop, metric = spec.stop, get(spec).metric
    bound = stop.bound(metric)
    last = "no weight is left" if stop.max_level is None else f"level {stop.max_level} is done"
    if bound is None:
        return f"until {last}"
    beyond = "below" if metric.higher_is_better else "above"
    unit = f" {metric.unit}" if metric.unit else ""
    rule = f"until {metric.short} is {beyond} {bound:g}{unit} at {stop.levels} successive levels"
    return rule if stop.max_level is None else f"{rule} or {last}"
