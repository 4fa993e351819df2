"""`fourfold presets`."""

from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from fourfold.cli.arguments import Maybe
from fourfold.cli.experiments import is_own, own_specs
from fourfold.cli.printing import WIDTH, make_console
from fourfold.record import Spec
from fourfold.record.errors import canonical, unknown
from fourfold.record.references import Part, entry_point_names, entry_points_of


def command(name: Annotated[Maybe[str], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = None) -> None:
    """List the experiments that `fourfold run` knows, with their data, networks and settings.

    Those of installed packages are listed by name and not imported.

    Args:
        name: An experiment of your own, such as roads.py, to describe it alone.
    """
    from fourfold.presets.papers import PRESETS

    console = make_console(WIDTH)
    name = name and canonical(name, PRESETS)
    if name is None:
        console.print(_table([(preset(), preset.__doc__ or "") for preset in PRESETS.values()]))
        print_entry_points(console, "preset")
    elif name in PRESETS:
        console.print(_table([(PRESETS[name](), PRESETS[name].__doc__ or "")]))
    elif is_own(name):
        console.print(_table([(spec, f"{name}, {spec.model.algebra}") for spec in own_specs(name)]))
    else:
        raise unknown("preset", name, [*PRESETS, *entry_point_names("preset")], "`fourfold presets` describes them")


def print_entry_points(console: Console, *parts: Part) -> None:
    """Print the names that installed packages add, with the code that they stand for, which is not imported."""
    for part in parts:
        for name, code in entry_points_of(part).items():
            console.print(f"{name}: {code}, of an installed package")


def _table(described: list[tuple[Spec, str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("preset", "data", "model", "epochs", "batch", "optimiser", "kept a level", "what it is"):
        table.add_column(column, no_wrap=column == "preset")
    for spec, what in described:
        train = spec.train
        table.add_row(
            spec.preset,
            spec.data.name,
            spec.model.name,
            str(train.epochs),
            str(train.batch_size),
            f"{train.optimizer} {train.learning_rate:g}",
            f"{100 * (1 - spec.prune.fraction):g} %",
            what.partition("\n")[0],
        )
    return table
