"""Any file of a run may be lost or damaged: it ends with the rows of an undisturbed one, or one sentence says why not.

Every kind of run × every file × every damage, on demand (four minutes):

    FOURFOLD_SWEEP=1 pytest tests/lottery/test_lottery_recovery.py
"""

import os
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from lottery_samples import files, prepared, results, tiny_spec

from fourfold import lottery
from fourfold.lottery.controls import run_controls
from fourfold.lottery.saving import Rule, Saving
from fourfold.record import PruneSpec, RunStore, UserError
from fourfold.train import OutOfTimeError, single_thread
from fourfold.train import checkpoint as pauses

SWEEP = "FOURFOLD_SWEEP" in os.environ
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


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """For each kind of run, one that ended inside a level, one that ended before its controls, and what comes of them."""
    made = {}

    def get(name: str):
        if name not in made:
            out = tmp_path_factory.mktemp("begun")
            whole = run(name, out / "whole", keep=[1])
            half = stopped(name, out / "half")
            done = run_until_controls(name, out / "done")
            made[name] = half, done, all_results(whole)
        return made[name]

    return get


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


def refusal(name: str, store: RunStore) -> str | None:
    """Run the rest; return the sentence that says why that cannot be."""
    try:
        run(name, store.path.parent)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", SPECS if SWEEP else ["start", "step", "continue", "gradual"])
@pytest.mark.parametrize("which", [0, 1], ids=["in a level", "at its controls"])
def test_any_file_may_be_lost_or_damaged(name, which, begun, tmp_path):
    half, expected = begun(name)[which], begun(name)[2]
    names = [file for file in files(half.path) if not file.endswith(".lock")]
    assert {file.split("/")[0] for file in names} >= {"spec.json", "rows-0.jsonl", "masks"}
    damages = list(DAMAGES)
    for number, file in enumerate(names):
        for damage in damages if SWEEP else [damages[(number + which) % len(damages)]]:
            copy = damaged_copy(half, tmp_path / f"{number}-{damage}", file, damage)
            if refused := refusal(name, copy):
                assert file == "spec.json" or file.startswith("rows-"), (file, damage, refused)
                assert file in refused
                assert "\n" not in refused
            else:
                assert all_results(copy) == expected, (file, damage)


@pytest.mark.parametrize("name", SPECS if SWEEP else ["start", "step", "search"])
@pytest.mark.parametrize("kind", ["masks", "states"])
def test_what_the_next_level_needs_is_made_again_and_said(name, kind, begun, tmp_path):
    half, _, _ = begun(name)
    file = half.path / kind / "0-2.safetensors"
    if not file.exists():
        pytest.skip("this kind of run has none")
    content, told = file.read_bytes(), []
    copy = damaged_copy(half, tmp_path, f"{kind}/0-2.safetensors", "a bit at its end")
    shutil.rmtree(copy.path / "checkpoints")
    with pytest.raises(StopError):
        run(name, tmp_path, rows=1, told=told)
    levels = "level 1 is" if name == "start" else "levels 0 to 1 are"
    assert len(told) == 1
    assert f"{kind}/0-2.safetensors" in told[0]
    assert told[0].endswith(f"; {levels} trained again to make it")
    if kind == "masks":
        assert (copy.path / kind / "0-2.safetensors").read_bytes() == content


def test_masks_of_another_trial_or_level_are_noticed(begun, tmp_path):
    half, _, expected = begun("start")
    for number, other in enumerate(["0-1", "another trial"]):
        copy, told = RunStore(shutil.copytree(half.path, tmp_path / str(number) / half.path.name)), []
        shutil.rmtree(copy.path / "checkpoints")
        if other == "0-1":
            mask = copy.mask(0, 1)
        else:
            with single_thread():
                lottery.run_trial(prepared(copy.spec()), copy, 1)
            mask = copy.mask(1, 2)
        copy.save_mask(0, 2, mask)
        run("start", copy.path.parent, told=told)
        assert len(told) == 1
        assert ": expected the SHA-256 " in told[0]
        assert all_results(copy) == expected


def test_what_training_makes_otherwise_replaces_nothing(begun, tmp_path):
    half, _, _ = begun("start")
    copy = damaged_copy(half, tmp_path, "masks/0-2.safetensors", "cut")
    before = files(copy.path)
    other = replace(prepared(SPECS["start"]), spec=replace(SPECS["start"], train=replace(BASE.train, epochs=2)))
    with single_thread(), pytest.raises(UserError, match=r"trained again, it does not become what the row of level 1 .* names"):
        lottery.run_trial(other, copy, 0)
    assert files(copy.path) == before


def test_kept_weights_that_are_damaged_are_kept_again(tmp_path):
    store = run("start", tmp_path, keep=[1])
    file = store.path / "weights" / "0-1.safetensors"
    content = file.read_bytes()
    for damage in DAMAGES:
        broken = DAMAGES[damage](content)
        file.unlink()
        if broken is not None:
            file.write_bytes(broken)
        if broken:
            with pytest.raises(UserError, match=r"weights/0-1\.safetensors cannot be read"):
                lottery.load_trained(store, 0, 1)
        run("start", tmp_path, keep=[1])
        assert file.read_bytes() == content


def test_rows_of_the_first_edition_have_their_masks_made_again_too(tmp_path):
    store = run("start", tmp_path / "whole")
    old = RunStore(shutil.copytree(store.path, tmp_path / "old" / store.path.name))
    for file in old.path.glob("rows-*"):
        file.unlink()
    lines = [replace(row, promised=None).to_line() for row in store.rows(0)[:2]]
    (old.path / "rows-0.jsonl").write_text("".join(f"{line}\n" for line in lines))
    shutil.rmtree(old.path / "masks")
    told = []
    run("start", old.path.parent, told=told)
    assert len(told) == 2  # level 1 leaves the mask of level 2, and level 0 that of level 1
    rows = results(old.rows(0))
    assert [row | {"promised": None} for row in rows] == [row | {"promised": None} for row in results(store.rows(0))]
