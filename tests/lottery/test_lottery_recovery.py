"""Any file of a run may be lost or damaged: it ends with the rows of an undisturbed one, or one sentence says why not.

Every kind of run × every file × every damage, on demand (four minutes):

    FOURFOLD_SWEEP=1 pytest tests/lottery/test_lottery_recovery.py
"""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from fourfold import lottery
from fourfold.record import RunStore, UserError
from fourfold.record.arrays import digest_of
from fourfold.record.inspection import inspect
from fourfold.train import single_thread
from lottery_samples import files, prepared, results, run_alone
from recovery_samples import (
    BASE,
    DAMAGES,
    SPECS,
    StopError,
    all_results,
    damaged_copy,
    run,
)

SWEEP = "FOURFOLD_SWEEP" in os.environ


def refusal(name: str, store: RunStore) -> str | None:
    """Run the rest; return the sentence that says why that cannot be."""
    try:
        run(name, store.path.parent)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.slow
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
    levels = "levels 0 to 1 are" if lottery.levels.carries(SPECS[name]) else "level 1 is"
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


def test_kept_weights_of_another_level_trial_or_run_are_noticed_and_made_again(tmp_path):
    store = run("start", tmp_path, keep=[0, 1])
    run_alone(SPECS["start"], tmp_path, 1, keep=[0])
    of_another_run = run_alone(replace(SPECS["start"], preset="another"), tmp_path, keep=[0])
    file, content = store.path / "weights" / "0-0.safetensors", (store.path / "weights" / "0-0.safetensors").read_bytes()
    of_another_level = store.path / "weights" / "0-1.safetensors"
    for other in (store.path / "weights" / "1-0.safetensors", of_another_run.path / "weights" / file.name, of_another_level):
        file.write_bytes(other.read_bytes())
        with pytest.raises(UserError, match=r"weights/0-0\.safetensors cannot be read .* as level 0 of trial 0 of "):
            lottery.load_trained(store, 0, 0)
        assert [finding.file for finding in inspect(store) if finding.wrong] == ["weights/0-0.safetensors"]
        run("start", tmp_path, keep=[0])
        assert file.read_bytes() == content
    first_edition = {"sha256": digest_of(store.weights(0, 0))}
    file.write_bytes(safetensors.numpy.save(store.weights(0, 0), first_edition))
    assert digest_of(store.weights(0, 0)) == first_edition["sha256"]


OTHER_MASKS = {
    "other names": lambda mask: {f"{name}.x": bits for name, bits in mask.items()},
    "one too few": lambda mask: dict([*mask.items()][1:]),
    "another type": lambda mask: {name: bits.astype(np.int8) for name, bits in mask.items()},
    "another length": lambda mask: {name: np.append(bits, np.uint8(255)) for name, bits in mask.items()},
    "another shape": lambda mask: {name: bits[None] for name, bits in mask.items()},
    "no weight": lambda mask: {name: np.zeros_like(bits) for name, bits in mask.items()},
}


@pytest.mark.parametrize("other", OTHER_MASKS)
def test_a_mask_of_another_network_is_made_again_where_no_row_has_promised_one(other, begun, tmp_path):
    """As in rows of the first edition; others name the digest of the mask."""
    half, _, _ = begun("start")
    old = RunStore(shutil.copytree(half.path, tmp_path / half.path.name))
    shutil.rmtree(old.path / "checkpoints")
    lines = [replace(row, promised=None).to_line() for row in old.rows(0)]
    (old.path / "rows-0.jsonl").write_text("".join(f"{line}\n" for line in lines))
    level, told = len(lines), []
    mask = old.mask(0, level)
    old.save_mask(0, level, OTHER_MASKS[other](mask))
    with pytest.raises(StopError):
        run("start", tmp_path, rows=1, told=told)
    assert len(told) == 1
    assert ("keeps no weight" if other == "no weight" else "is not one of its network") in told[0]
    assert digest_of(old.mask(0, level)) == digest_of(mask)


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
