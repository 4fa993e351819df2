"""A run that has lost its spec, and what else may lie in place of its files: rows stay, and commands end in sentences."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from cli_samples import call, make_run, make_spec

from fourfold.record import RunStore, UserError, find_runs
from fourfold.record.inspection import inspect

LOST = {
    "removed": lambda text: None,
    "cut": lambda text: text[:40],
    "without its version": lambda text: "{}",
    "of other types": lambda text: text.replace('"preset": "sample"', '"preset": 3'),
}


@pytest.fixture
def store(tmp_path) -> RunStore:
    return make_run(tmp_path / "runs", "real", {0: 3, 1: 1})


def wrong(store):
    return [finding.file for finding in inspect(store) if finding.wrong]


def lose(store, how):
    file = store.path / "spec.json"
    text = LOST[how](file.read_text())
    file.unlink()
    if text is not None:
        file.write_text(text)


@pytest.mark.parametrize("how", LOST)
def test_a_lost_spec_is_named_and_written_again_by_the_same_run(store, how):
    spec, text = (store.path / "spec.json").read_text(), []
    rows = (store.path / "rows-0.jsonl").read_bytes()
    lose(store, how)
    assert wrong(store) == ["spec.json"]
    assert "spec.json" in call("check", store.path).out
    assert call("status", store.path.parent).code == 1
    assert len(RunStore.expecting(store.path.parent, make_spec()).rows(0)) == 3
    RunStore.create(store.path.parent, make_spec(), tell=text.append)
    assert ["written again" in sentence for sentence in text] == [True]
    assert (store.path / "spec.json").read_text() == spec
    assert (store.path / "rows-0.jsonl").read_bytes() == rows
    assert wrong(store) == []


@pytest.mark.parametrize("how", LOST)
def test_repair_keeps_the_rows_and_says_which_command_writes_the_spec(store, how):
    lose(store, how)
    ended = call("check", "--repair", store.path.parent)
    assert (ended.code, len(store.path.joinpath("rows-0.jsonl").read_text().splitlines())) == (1, 3)
    assert "fourfold run" in ended.err
    assert not (store.path / "spec.json").exists()
    RunStore.create(store.path.parent, make_spec())
    assert call("check", store.path.parent).code == 0


def test_a_lost_spec_is_not_written_over_rows_of_another_run(store):
    lose(store, "removed")
    other = store.path.rename(store.path.with_name(make_spec("quaternion").id))
    with pytest.raises(UserError, match=r"expected rows of .*, found those of .*; move them away"):
        RunStore.create(other.parent, make_spec("quaternion"))
    assert not (other / "spec.json").exists()


def test_an_altered_spec_costs_no_rows(store):
    file, rows = store.path / "spec.json", (store.path / "rows-0.jsonl").read_bytes()
    value = json.loads(file.read_text())
    value["train"]["epochs"] += 1
    file.write_text(json.dumps(value))
    assert wrong(store) == ["spec.json"]
    status = call("status", store.path.parent)
    assert (status.code, "remove that line" in status.err, "it was altered" in status.err) == (1, False, True)
    with pytest.raises(UserError, match="it was altered, and the rows were not"):
        RunStore.create(store.path.parent, make_spec())
    call("check", "--repair", store.path.parent)
    assert (store.path / "rows-0.jsonl").read_bytes() == rows
    RunStore.create(store.path.parent, make_spec())
    assert wrong(store) == []


def test_a_renamed_folder_is_whole(store):
    assert wrong(RunStore(store.path.rename(store.path.with_name("mine")))) == []


def test_what_was_moved_aside_is_no_run(store, tmp_path):
    aside = store.path / "damaged"
    aside.mkdir()
    for name in ("spec.json", "rows-0.jsonl"):
        shutil.copy(store.path / name, aside / name)
    shutil.copytree(aside, aside / "deep")
    for path in (tmp_path, store.path, aside):
        for without_spec in (False, True):
            assert [run.path for run in find_runs(path, without_spec=without_spec)] == [store.path] * (path != aside)
    under = tmp_path / "damaged" / store.path.name  # a folder of runs may have any name
    shutil.copytree(store.path, under)
    assert [run.path for run in find_runs(tmp_path / "damaged")] == [under]


NAMES = ("spec.json", "rows-0.jsonl", "rows-0-inverted.jsonl", "connectivity-0.jsonl", "overlaps.jsonl", "failed-0.json")
NAMES += ("masks/0-1.safetensors", "weights/0-1.safetensors", "states/0-1.safetensors", "checkpoints/0-3.safetensors")


def test_a_pipe_in_place_of_any_file_is_not_opened(store):
    for name in NAMES:
        (store.path / name).parent.mkdir(exist_ok=True)
        (store.path / name).unlink(missing_ok=True)
        os.mkfifo(store.path / name)
    for command in ("check", "status"):
        words = [sys.executable, "-m", "fourfold", command, store.path]
        assert subprocess.run(words, capture_output=True, timeout=60).returncode == 1
    assert {*NAMES} == {*wrong(store)}


@pytest.mark.parametrize(
    ("end", "damaged"), [(b'{"run":"s', False), (b"{", False), ('{"å'.encode()[:-1], False), (b"\0\0", True), (b"x", True)]
)
def test_what_is_no_whole_line_at_the_end_is_told_and_removed(store, end, damaged):
    file = store.path / "rows-0.jsonl"
    rows = file.read_bytes()
    file.write_bytes(rows + end)
    (found,) = [finding for finding in inspect(store) if finding.what]
    assert (found.file, found.wrong) == ("rows-0.jsonl", damaged)
    assert call("check", store.path).code == damaged
    assert call("check", "--repair", store.path).code == 0
    assert file.read_bytes() == rows
    assert (store.path / "damaged").exists() == damaged


def test_a_linked_folder_is_looked_into_as_when_a_run_is_read(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0-1.safetensors").write_bytes(b"x")
    (store.path / "masks").symlink_to(tmp_path / "elsewhere")
    assert store.has_mask(0, 1)
    assert wrong(store) == ["masks/0-1.safetensors"]


def test_a_folder_in_place_of_a_file_and_a_file_in_place_of_a_folder_are_moved_aside(store):
    for name in ("failed-0.json", "weights/9-9.safetensors"):
        (store.path / name).mkdir(parents=True)
        (store.path / name / "inside").write_text("x")
    (store.path / "masks").write_text("x")
    assert wrong(store) == ["failed-0.json", "masks", "weights/9-9.safetensors"]
    assert call("check", "--repair", store.path).code == 0
    assert (store.path / "damaged" / "failed-0.json" / "inside").exists()
