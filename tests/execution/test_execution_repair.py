"""`fourfold check` finds whatever is wrong with a file of a run, and after `--repair` the run ends as an undisturbed one.

Every kind of run × every file × every damage, on demand (five minutes):

    FOURFOLD_SWEEP=1 pytest tests/execution/test_execution_repair.py
"""

import os
import shutil
from dataclasses import replace

import pytest

from fourfold.execution._repair import repair
from fourfold.record import RunStore, UserError
from fourfold.record.inspection import Finding, inspect
from fourfold.train import single_thread
from lottery_samples import files, prepared
from recovery_samples import BASE, DAMAGES, SPECS, all_results, damaged_copy, run

SWEEP = "FOURFOLD_SWEEP" in os.environ


def wrong(store: RunStore) -> list[Finding]:
    return [finding for finding in inspect(store) if finding.wrong]


def mend(store: RunStore) -> list[str]:
    said: list[str] = []
    with single_thread():
        repair(store, inspect(store), lambda: prepared(store.spec()), said.append)
    return said


def is_noticed(file: str, damage: str) -> bool:
    """Whether a damage of a file can be known: a file of which nothing tells may be gone, and a torn line was never written."""
    if damage == "removed":
        return file.startswith(("masks/", "states/", "spec"))
    return not (file.startswith("rows-") and damage in ("empty", "cut"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS if SWEEP else ["step", "gradual"])
@pytest.mark.parametrize("which", [0, 1], ids=["in a level", "at its controls"])
def test_what_is_wrong_is_found_and_mended(name, which, begun, tmp_path):
    started, expected = begun(name)[which], begun(name)[2]
    assert wrong(started) == []
    names = [file for file in files(started.path) if not file.endswith(".lock")]
    damages = list(DAMAGES)
    for number, file in enumerate(names):
        for damage in damages if SWEEP else [damages[(number + 3 * which + 1) % len(damages)]]:
            copy = damaged_copy(started, tmp_path / f"{number}-{damage}", file, damage)
            found = [finding.file for finding in wrong(copy)]
            if file == "rows-0.jsonl" and not is_noticed(file, damage):  # a state that was no longer needed is missed again
                assert all(name.startswith("states/") for name in found), (file, damage)
            else:
                assert found == ([file] if is_noticed(file, damage) else []), (file, damage)
            if not copy.path.joinpath("spec.json").exists():
                continue
            mend(copy)
            if (copy.path / "spec.json").exists():  # moved aside where it was damaged
                assert wrong(copy) == [], (file, damage)
            run(name, copy.path.parent)
            assert all_results(copy) == expected, (file, damage)
            assert wrong(copy) == []


def test_what_cannot_be_made_again_is_moved_aside(begun, tmp_path):
    half = begun("start")[0]
    copy = damaged_copy(half, tmp_path, "masks/0-2.safetensors", "cut")
    content = (copy.path / "masks" / "0-2.safetensors").read_bytes()
    other = replace(prepared(SPECS["start"]), spec=replace(SPECS["start"], train=replace(BASE.train, epochs=2)))
    said: list[str] = []
    with single_thread():
        repair(copy, inspect(copy), lambda: other, said.append)
    assert "masks/0-2.safetensors cannot be made again: " in said[0]
    assert said[1].endswith("masks/0-2.safetensors was moved to damaged/masks/0-2.safetensors")
    assert (copy.path / "damaged" / "masks" / "0-2.safetensors").read_bytes() == content
    assert [finding.state for finding in wrong(copy)] == ["missing"]


def test_kept_weights_are_kept_again(tmp_path):
    store = run("start", tmp_path, keep=[2])
    file = store.path / "weights" / "0-2.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert [finding.file for finding in wrong(store)] == ["weights/0-2.safetensors"]
    assert mend(store) == [f"{file} was made again by training"]
    assert file.read_bytes() == content


def test_a_run_that_another_process_works_on_is_not_mended(begun, tmp_path):
    copy = damaged_copy(begun("start")[0], tmp_path, "masks/0-1.safetensors", "removed")
    with copy.lock("run"), pytest.raises(UserError, match="another process is working on"):
        mend(RunStore(copy.path))


def test_rows_alone_are_a_whole_run_and_files_of_other_names_are_foreign(begun, tmp_path):
    copy = RunStore(shutil.copytree(begun("step")[1].path, tmp_path / "copy"))
    shutil.rmtree(copy.path / "masks")
    assert {finding.state for finding in wrong(copy)} == {"missing"}
    shutil.rmtree(copy.path / "states")
    assert wrong(copy) == []
    others = [
        "notes.txt",
        "rows-0 (copy).jsonl",
        "rows-00.jsonl",
        "rows-0-mine.jsonl",
        "weights/0-1.npz",
        "checkpoints/x.safetensors",
    ]
    for name in others:
        (copy.path / name).parent.mkdir(exist_ok=True)
        (copy.path / name).write_text("x")
    assert [finding.file for finding in inspect(copy) if finding.state == "foreign"] == sorted(others)
    assert wrong(copy) == []
