"""Runs of every kind that need more than their masks, ended early, and ways to damage their files."""

import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from fourfold import lottery
from fourfold.lottery.controls import run_controls
from fourfold.record import PruneSpec, RunStore
from fourfold.train import OutOfTimeError, single_thread
from fourfold.train import checkpoint as pauses
from fourfold.train.saving import Rule, Saving
from lottery_samples import prepared, results, tiny_spec

LEVELS = 4
CONTROLS = ("random-init", "inverted", "equal-macs")
BASE = replace(tiny_spec("quaternion", levels=LEVELS, batch_size=240), preset="recovery")
PRUNES = {
    "start": {},
    "step": {"rewind": "step", "rewind_to": 2},
    "continue": {"rewind": "continue"},
    "search": {"search": "continue"},
    "gradual": {"schedule": "gradual"},
    "one-shot": {"schedule": "one-shot"},
    "scored at the start": {"score": "synflow"},
}
SPECS = {name: replace(BASE, prune=PruneSpec(fraction=0.5, **prune)) for name, prune in PRUNES.items()}
WITH_CONTROLS = ("start", "step", "scored at the start")

DAMAGES = {
    "removed": lambda content: None,
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a bit at its end": lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    "a bit at its begin": lambda content: bytes([content[0] ^ 4]) + content[1:],
    "zeros": lambda content: bytes(len(content)),
}


class StopError(Exception):
    """The process ends here."""


def run(name: str, out: Path, *, rows: int | None = None, told=None, ends=None, keep=()) -> RunStore:
    """Run trial 0, and its controls; end after so many rows if that is asked for."""
    spec, left = SPECS[name], count(1)
    store = RunStore.create(out, spec)

    def on_row(row):
        if next(left) == rows:
            raise StopError

    def tell(kind, **about):
        if kind == "notice" and told is not None:
            told.append(about["message"])

    ends = ends or SimpleNamespace(late=lambda ahead_seconds: False)
    saving = Saving(store=store, trial=0, ends=ends, rule=Rule("epoch"), tell=tell)
    with single_thread():
        lottery.run_trial(prepared(spec), store, 0, on_row=on_row, saving=saving, keep=keep)
        if name in WITH_CONTROLS:
            run_controls(prepared(spec), store, 0, CONTROLS, [LEVELS - 1], on_row=on_row, saving=saving)
    return store


def all_results(store: RunStore):
    return results(store.rows(0)), {control: results(store.control_rows(0, control)) for control in CONTROLS}


def stopped(name: str, out: Path) -> RunStore:
    """A run that ended inside level 2, with a checkpoint."""
    with pytest.raises(StopError):
        run(name, out, rows=2)
    pauses_left = iter([False] * 3 + [True])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pauses, "LOOK_SECONDS", 0.0)
        with pytest.raises(OutOfTimeError):
            run(name, out, ends=SimpleNamespace(late=lambda ahead_seconds: next(pauses_left)))
    store = RunStore(out / SPECS[name].id)
    assert len(list((store.path / "checkpoints").iterdir())) == 1
    return store


def run_until_controls(name: str, out: Path) -> RunStore:
    try:
        return run(name, out, rows=LEVELS + 5)  # in the middle of the last control
    except StopError:
        return RunStore(out / SPECS[name].id)


def damaged_copy(store: RunStore, out: Path, file: str, damage: str) -> RunStore:
    copy = RunStore(shutil.copytree(store.path, out / store.path.name))
    content = DAMAGES[damage]((copy.path / file).read_bytes())
    (copy.path / file).unlink()
    if content is not None:
        (copy.path / file).write_bytes(content)
    return copy
