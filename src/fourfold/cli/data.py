"""`fourfold data`."""

import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from fourfold.cli.arguments import Maybe
from fourfold.cli.experiments import is_own, own_specs
from fourfold.cli.presets import print_entry_points
from fourfold.cli.printing import WIDTH, make_console
from fourfold.cli.streams import say
from fourfold.data.datasets import DATASETS
from fourfold.data.named import NAMED, read_named, where_named
from fourfold.data.official import NAMED_ARCHIVES
from fourfold.record.errors import UserError, canonical, unknown

ACTIONS = ("list", "get", "check", "pack")


def command(
    action: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ACTION")] = "list",
    name: Annotated[Maybe[str], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None,
    data_dir: Maybe[Path] = None,
) -> None:
    """List the data sets, download one, check one's files, or pack a large one.

    `list` names those of installed packages, too, and with an experiment of your own those of its data alone.

    Args:
        action: get downloads a data set and verifies its checksums, check reads every file and compares it with the official
            one, and pack converts an ImageNet's batches into files that are mapped into memory, and resumes after a stop.
        name: A data set of `fourfold data list`; for list, an experiment of your own, such as roads.py.
        data_dir: Where data sets lie; default $FOURFOLD_DATA, else the cache.
    """
    if action not in ACTIONS:
        raise unknown("action", action, ACTIONS)
    if name is not None and action != "list":
        name = canonical(name, [*DATASETS, *NAMED])
    if action == "list" and name is not None:
        _list_own(name)
    elif action == "list":
        _list(data_dir)
    elif name is None:
        raise UserError(f"`NAME` must be given to `fourfold data {action}`: a data set of `fourfold data list`")
    elif action == "get":
        _get(name, data_dir)
    elif action == "check":
        _check(name, data_dir)
    else:
        _pack(name, data_dir)


def _list(data_dir: Path | None) -> None:
    from fourfold import data

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "training", "test", "image", "classes", "where"):
        table.add_column(column, justify="right" if column in ("training", "test", "classes") else "left", no_wrap=True)
    for info, where in data.listing(data_dir):
        image = f"{info.channels}×{info.size}×{info.size}"
        table.add_row(info.name, f"{info.train_images:,}", f"{info.test_images:,}", image, str(info.num_classes), where)
    console = make_console(WIDTH)
    console.print(table)
    others = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "what it holds", "where"):
        others.add_column(column, no_wrap=True)
    for name, about in NAMED.items():
        others.add_row(name, about.title, where_named(name, data_dir))
    console.print()
    console.print(others)
    print_entry_points(console, "data")


def _list_own(name: str) -> None:
    """Print the data of the user's own experiments, which are made for it."""
    from fourfold.parts import facts, load

    if not is_own(name):
        raise UserError(f"`NAME` (={name!r}) must be left out of `fourfold data list`, or be an experiment such as roads.py")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "training", "test", "item", "outputs", "SHA-256"):
        table.add_column(column, justify="right" if column in ("training", "test", "outputs") else "left", no_wrap=True)
    for spec in {spec.data.name: spec for spec in own_specs(name)}.values():
        about = facts(spec)
        outputs = "" if about.outputs is None else str(about.outputs)
        digest = (load(spec).digest or "")[:8]
        counts = (f"{count:,}" for count in (about.train_items, about.test_items))
        table.add_row(spec.data.name, *counts, str(about.batch_shape), outputs, digest)
    make_console(WIDTH).print(table)


def _get(name: str, data_dir: Path | None) -> None:
    from fourfold import data

    if name in NAMED and name not in NAMED_ARCHIVES:
        if where_named(name, data_dir) == "not here":
            read_named(name, data_dir)  # which says where to get it
        written = []
    else:
        written = data.download(name, data_dir)
    say("\n".join(f"downloaded {path}" for path in written) or f"{name} is here already; nothing was downloaded")


def _pack(name: str, data_dir: Path | None) -> None:
    if name in NAMED:
        raise UserError(f"`NAME` (={name!r}) must be an ImageNet: other data are read as they are")
    from rich.progress import MofNCompleteColumn, Progress

    from fourfold import data

    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), transient=True) as progress:
        task = progress.add_task(f"packing {name}")
        for done, total in data.pack(name, data_dir):
            progress.update(task, completed=done, total=total)
    say(f"{name} is packed in {data.where(name, data_dir)}; the official batches are not needed any more")


def _check(name: str, data_dir: Path | None) -> None:
    from fourfold import data

    if name in NAMED:
        read_named(name, data_dir)
        say(f"{name} can be read: {where_named(name, data_dir)}")
        return
    findings = data.check(name, data_dir)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("file", "bytes", "state", "finding"):
        table.add_column(column, justify="right" if column == "bytes" else "left", no_wrap=column != "finding")
    for finding in findings:
        size = "" if finding.size is None else f"{finding.size:,}"
        table.add_row(finding.what, size, finding.state, finding.text)
    make_console(WIDTH).print(table)
    if not all(finding.usable for finding in findings):
        sys.exit(1)
