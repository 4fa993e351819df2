"""`fourfold new`."""

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import tyro

from fourfold.cli.streams import say
from fourfold.record import UserError
from fourfold.record.errors import unknown
from fourfold.record.files import write_atomically

TASKS = ("classification", "segmentation", "detection", "sequences", "multilabel", "regression", "custom")
"""Each has a template; sequences is classification of series of unequal length, and custom is a task with a loss and a metric
of its own."""


def command(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    task: str = "classification",
) -> None:
    """Write an experiment of your own: a commented file that runs as it is, with a network, data and a task to replace.

    Args:
        file: The file, such as roads.py; one that is there is left alone.
        task: What the network is asked; custom has a loss and a metric of its own.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    if file.suffix != ".py" or not file.stem.isidentifier():
        raise UserError(f"`FILE` (={str(file)!r}) must be a file of Python code, such as roads.py")
    if file.exists():
        raise UserError(f"`FILE` (={str(file)!r}) must be a new file: it is there already")
    text = (files("fourfold.cli") / "templates" / f"{task}.txt").read_text(encoding="utf-8")
    try:
        write_atomically(file, text.replace("FILE", file.name).replace("NAME", file.stem.replace("_", "-")).encode())
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror})") from error
    name = shlex.quote(str(file))
    say(f"{file} is an experiment that runs as it is:\n  fourfold info {name}\n  fourfold run {name} --trials 3")
