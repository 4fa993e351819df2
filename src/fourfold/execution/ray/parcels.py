"""What of a trial's files crosses the network between the run's folder and a machine that does not see it."""

import re
from collections.abc import Collection
from pathlib import Path

from fourfold.record import TICKET, Row, RunStore, UserError
from fourfold.record.files import make_folder, write_atomically
from fourfold.record.folders import LARGEST_TEXT
from fourfold.record.packing import decompressed, is_packed, plain_form

Files = dict[str, bytes]
"""Contents of files by their paths below the run's folder."""

_NAME = re.compile(
    r"(rows|failed)-\d+(-[a-z-]+)?\.jsonl?|(masks|states|weights|examples)/\d+-\d+(-[a-z-]+)?\.safetensors|"
    r"checkpoints/\d+-\d+(-[a-z-]+)?(\.search)?\.safetensors"
)


def pack(store: RunStore, trial: int, *, every_mask: bool) -> Files:
    """Return what a machine needs to resume a trial.

    Args:
        store: The run.
        trial: The trial.
        every_mask: Whether the masks of all levels are needed and not only the next one's, as they are for controls and for
            levels that are trained again.
    """
    level = "*" if every_mask else f"{len(store.rows(trial))}"
    return _read(
        store.path,
        f"rows-{trial}.jsonl*",
        f"rows-{trial}-*.jsonl*",
        f"failed-{trial}.json",
        f"failed-{trial}-*.json",
        f"masks/{trial}-{level}.safetensors",
        f"states/{trial}-{level}.safetensors",
        *_checkpoints(trial),
    )


def checkpoints(store: RunStore, trial: int) -> Files:
    """Return the checkpoints of a trial."""
    return _read(store.path, *_checkpoints(trial))


def new_files(store: RunStore, trial: int, known: Collection[str]) -> Files:
    """Return the files that a trial has made beside its rows, but for those whose names are known."""
    kinds = (f"{kind}/{trial}-*.safetensors" for kind in ("masks", "states", "weights", "examples"))
    return _read(store.path, f"failed-{trial}.json", f"failed-{trial}-*.json", *kinds, known=known)


def unpack(store: RunStore, files: Files) -> None:
    """Write files into the run's folder, each whole or not at all.

    Raises:
        UserError: a name is not that of a trial's file.
    """
    for name, content in files.items():
        if not _NAME.fullmatch(name):
            raise UserError(f"a node of the cluster sent a file named {name!r}, which no run has")
        file = store.path / name
        make_folder(file.parent)
        write_atomically(file, content)


def accept(store: RunStore, files: Files, row: Row | None) -> str | None:
    """Write what a machine has sent, in the order that keeps a level whole: its files, then its row.

    Returns:
        The sentence for a checkpoint that could not be written, which is no reason to end a run; None otherwise.
    """
    saved = {name: content for name, content in files.items() if name.startswith("checkpoints/")}
    unpack(store, {name: content for name, content in files.items() if name not in saved})
    if row is not None:
        store.append(row)
        store.checkpoints.drop(row.trial, row.level, row.control)
        if row.control == TICKET:
            store.drop_states(row.trial, before=row.level + 1)
    try:
        unpack(store, saved)
    except OSError as error:
        return f"no checkpoint could be written to {store.path} ({error.strerror}); training continues without it"
    return None


def _checkpoints(trial: int) -> tuple[str, ...]:
    """Return the patterns of a trial's checkpoints."""
    return (f"checkpoints/{trial}-*.safetensors",)


def _read(folder: Path, *patterns: str, known: Collection[str] = ()) -> Files:
    files = {file.relative_to(folder).as_posix(): file for pattern in patterns for file in folder.glob(pattern)}
    packed = {
        plain_form(file).name: file for file in files.values() if is_packed(file)
    }  # a machine that adds lines gets them plain
    plain = {name: file.read_bytes() for name, file in sorted(files.items()) if name not in known and not is_packed(file)}
    lines = {name: decompressed(file.read_bytes(), LARGEST_TEXT) for name, file in sorted(packed.items()) if name not in plain}
    return dict(sorted((lines | plain).items()))
