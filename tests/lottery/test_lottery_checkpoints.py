"""A level that was ended at any step goes on from its checkpoint, and no bit of any row is different."""

import hashlib
import os
import resource
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest

from checkpoint_samples import CONTROLS, EndsAtSteps, run, run_in_pieces, specs
from fourfold.record import RunStore
from fourfold.record.checkpoints import where
from fourfold.train import OutOfTimeError
from fourfold.train import checkpoint as pauses
from fourfold.train.saving import Rule, Saving
from lottery_samples import prepared, results, tiny_spec


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    """Pause at every step, as trainings of long steps do."""
    monkeypatch.setattr(pauses, "LOOK_SECONDS", 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", specs())
def test_a_level_in_pieces_gives_the_rows_of_a_whole_one(name, tmp_path):
    spec, controls = specs()[name], CONTROLS.get(name, ())
    whole = run(spec, tmp_path / "whole", controls)
    pieces, count = run_in_pieces(spec, tmp_path / "pieces", controls)
    assert count >= 3
    assert results(pieces.rows(0)) == results(whole.rows(0))
    for control in controls:
        assert results(pieces.control_rows(0, control)) == results(whole.control_rows(0, control))
    assert not list((pieces.path / "checkpoints").iterdir())


def stopped_level(spec, out, pauses_before=9):
    """Run a trial until it ends inside a level; return its store, its one checkpoint, and what was told."""
    told = []
    store, ends = RunStore.create(out, spec), EndsAtSteps(0, 1)
    ends.left = pauses_before
    saving = Saving(store=store, trial=0, ends=ends, rule=Rule("epoch"), tell=lambda kind, **about: told.append((kind, about)))
    with pytest.raises(OutOfTimeError):
        run(spec, out, saving=saving)
    (file,) = (store.path / "checkpoints").iterdir()
    return store, file, told


def finish(spec, out):
    """Run the rest, and return what was told."""
    told, store = [], RunStore.create(out, spec)
    ends = SimpleNamespace(late=lambda ahead_seconds: False)
    tell = lambda kind, **about: told.append((kind, about))  # noqa: E731
    run(spec, out, saving=Saving(store=store, trial=0, ends=ends, rule=Rule("epoch"), tell=tell))
    return told


DAMAGES = {
    "cut off": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "bit-flipped": lambda content: content[:-9] + bytes([content[-9] ^ 4]) + content[-8:],
    "of another spec": lambda content: content.replace(b"checkpoint-quaternion-", b"checkpoint-quaternium-", 1),
    "of another version": lambda content: content.replace(b'\\"version\\": \\"0.', b'\\"version\\": \\"9.', 1),
    "of another format": lambda content: content.replace(b'"format": "1"', b'"format": "0"', 1),
}


def signed(content: bytes) -> bytes:
    """Give changed content the digest that belongs to it, as who wrote it would have."""
    start = 8 + int.from_bytes(content[:8], "little")
    if b"sha256" not in content[:start]:
        return content
    digest = content.split(b'"sha256": "')[1][:64]
    blank = content[:start].replace(digest, b"0" * 64)
    return content.replace(digest, hashlib.sha256(blank + content[start:]).hexdigest().encode(), 1)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_no_good_is_ignored_with_one_sentence(damage, tmp_path, alone):
    spec = tiny_spec("quaternion", levels=2, epochs=2)
    spec = replace(spec, preset="checkpoint")
    _, file, _ = stopped_level(spec, tmp_path)
    content = DAMAGES[damage](file.read_bytes())
    assert content != file.read_bytes()
    file.write_bytes(signed(content) if damage.startswith("of another") else content)
    told = finish(spec, tmp_path)
    ((_, about),) = [one for one in told if one[0] == "notice"]
    assert about["message"].startswith(f"{file}: expected ")
    assert about["message"].endswith("; level 0 starts over")
    assert "\n" not in about["message"]
    assert not [kind for kind, _ in told if kind == "resumed"]
    assert results(RunStore(tmp_path / spec.id).rows(0)) == results(alone(spec).rows(0))


def test_where_a_level_was_saved_and_goes_on_is_told(tmp_path):
    spec = tiny_spec(levels=1, epochs=2)
    store, _, told = stopped_level(spec, tmp_path, pauses_before=30)
    kinds = [kind for kind, _ in told]
    assert kinds == ["checkpoint", "checkpoint"]  # of the epoch, and of the end
    (position,) = store.checkpoints.positions().values()
    assert (position["epoch"], position["epochs"], position["steps"]) == (1, 2, 24)
    resumed = finish(spec, tmp_path)[0]
    assert resumed == ("resumed", {"control": "ticket", "level": 0, "message": where(position)})


def test_a_folder_that_cannot_be_written_is_told_of_once_and_the_training_goes_on(tmp_path, alone):
    spec = tiny_spec(levels=2, epochs=4)
    store = RunStore.create(tmp_path, spec)
    (store.path / "checkpoints").write_text("in the way")
    told = finish(spec, tmp_path)
    assert [kind for kind, _ in told] == ["notice"]
    assert told[0][1]["message"] == ("no checkpoint of level 0 could be written (File exists); training continues without it")
    assert results(store.rows(0)) == results(alone(spec).rows(0))


def test_checkpoints_of_levels_with_rows_are_swept(tmp_path):
    spec = tiny_spec(levels=2, epochs=2)
    store, file, _ = stopped_level(spec, tmp_path)
    content = file.read_bytes()
    finish(spec, tmp_path)
    file.write_bytes(content)  # a process died before it removed it
    file.with_name("0-9.safetensors").write_bytes(content)
    store.sweep()
    assert [left.name for left in file.parent.iterdir()] == ["0-9.safetensors"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_disk_without_room_for_a_checkpoint_leaves_the_last_one_and_no_part_of_another(tmp_path, alone):
    spec = tiny_spec(levels=1, epochs=3)
    prepared(spec)
    store, file, _ = stopped_level(spec, tmp_path)
    content = file.read_bytes()
    child = os.fork()
    if child == 0:  # the kernel refuses whatever would make a file longer than that
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, resource.RLIM_INFINITY))
        told = []
        ends = SimpleNamespace(late=lambda ahead_seconds: len(told) > 1)  # at once
        tell = lambda kind, **about: told.append((kind, about.get("message", "")))  # noqa: E731
        try:
            run(spec, tmp_path, saving=Saving(store=store, trial=0, ends=ends, rule=Rule("epoch"), tell=tell))
        except OutOfTimeError as ending:
            lost = str(ending).endswith(", and could not be saved there")
            os._exit(7 if lost and [kind for kind, _ in told] == ["resumed", "notice"] else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert file.read_bytes() == content
    assert [*file.parent.iterdir()] == [file]
    finish(spec, tmp_path)
    assert results(store.rows(0)) == results(alone(spec).rows(0))
