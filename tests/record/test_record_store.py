"""The files of a run: nothing written changes, and what a crash tears off is left out."""

import dataclasses
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from record_samples import make_row, make_spec

from fourfold.record import Epoch, Metric, ModelSpec, PruneSpec, Row, RunStore, Spec, StopSpec, UserError, find_runs, spec_file


@pytest.fixture
def store(tmp_path):
    return RunStore.create(tmp_path, make_spec())


def rows_file(store, trial=0):
    return store.path / f"rows-{trial}.jsonl"


def mask_file(store, trial, level):
    return store.path / "masks" / f"{trial}-{level}.safetensors"


def test_a_run_has_a_folder_named_by_its_id_and_holds_its_spec(tmp_path):
    spec = make_spec()
    store = RunStore.create(tmp_path / "a" / "b", spec)
    assert store.path == tmp_path / "a" / "b" / spec.id
    assert [file.name for file in store.path.iterdir()] == ["spec.json"]
    assert store.spec() == spec
    assert Spec.from_json(json.loads((store.path / "spec.json").read_text())) == spec


def test_creating_a_run_again_changes_nothing(store, tmp_path):
    store.append(make_row())
    before = {file: file.read_bytes() for file in store.path.iterdir()}
    assert RunStore.create(tmp_path, make_spec()).rows(0) == [make_row()]
    assert {file: file.read_bytes() for file in store.path.iterdir()} == before


def test_a_folder_with_another_spec_is_refused(store, tmp_path):
    other = make_spec(prune=PruneSpec(fraction=0.5))
    text = json.dumps(other.to_json())
    (store.path / "spec.json").write_text(text)
    with pytest.raises(UserError, match=r"spec\.json holds another experiment than sample-real-.*; move it away or choose"):
        RunStore.create(tmp_path, make_spec())
    assert (store.path / "spec.json").read_text() == text


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\ufeff{}"])
def test_a_damaged_spec_is_one_sentence(store, text):
    (store.path / "spec.json").write_text(text)
    with pytest.raises(UserError, match=r"spec\.json cannot be read as a spec \("):
        store.spec()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("here already")
    with pytest.raises(
        UserError, match=r"^cannot write the run to .*sample-real-\w+ \(Not a directory\); choose another --out$"
    ):
        RunStore.create(tmp_path / "file", make_spec())


def test_rows_come_back_in_order_and_by_trial(store):
    written = {trial: [make_row(trial, level) for level in range(3)] for trial in (0, 2, 10)}
    for rows in written.values():
        for row in rows:
            store.append(row)
    assert {trial: store.rows(trial) for trial in store.trials()} == written
    assert store.trials() == [0, 2, 10]
    assert store.rows(1) == []


@pytest.mark.parametrize("kept", [1, 0.5, -1])
def test_a_torn_line_is_left_out_and_replaced_by_the_next_row(store, kept):
    for level in range(2):
        store.append(make_row(level=level))
    file = rows_file(store)
    whole = file.read_bytes()
    store.append(make_row(level=2))
    line = file.read_bytes().removeprefix(whole)
    torn = line[: kept if kept == 1 else int(kept * len(line)) if kept > 0 else kept]
    file.write_bytes(whole + torn)
    assert store.rows(0) == [make_row(level=level) for level in range(2)]
    assert file.read_bytes() == whole + torn  # reading repairs nothing: another process may be writing
    store.append(make_row(level=2))
    assert file.read_bytes() == whole + line
    assert store.rows(0) == [make_row(level=level) for level in range(3)]


def test_a_torn_first_line_is_no_row(store):
    rows_file(store).write_bytes(make_row().to_line().encode())  # all but the newline
    assert store.rows(0) == []
    assert not store.finished(0)
    store.append(make_row())
    assert store.rows(0) == [make_row()]


def test_a_damaged_line_names_its_file_and_line(store):
    rows_file(store).write_text(make_row().to_line() + "\n{}\n")
    with pytest.raises(UserError, match=r"rows-0\.jsonl:2 is not a row of fourfold"):
        store.rows(0)


def test_masks_come_back_to_the_last_bit(store):
    generator = np.random.default_rng(0)
    masks = {"fc1.weight": generator.integers(0, 256, 96, np.uint8), "fc2.weight": generator.integers(0, 256, 15, np.uint8)}
    store.save_mask(3, 7, masks)
    back = store.mask(3, 7)
    assert set(back) == set(masks)
    for name, bits in masks.items():
        assert back[name].dtype == np.uint8
        assert np.array_equal(back[name], bits)
    assert [file.name for file in (store.path / "masks").iterdir()] == ["3-7.safetensors"]


def test_saving_a_mask_again_replaces_it(store):
    store.save_mask(0, 1, {"a": np.zeros(4, np.uint8)})
    store.save_mask(0, 1, {"a": np.ones(2, np.uint8)})
    assert np.array_equal(store.mask(0, 1)["a"], np.ones(2, np.uint8))


def test_a_missing_mask_is_one_sentence(store):
    with pytest.raises(
        UserError,
        match=r"masks/2-1\.safetensors cannot be read \(.*\); `fourfold check --repair .*` makes it again by training$",
    ):
        store.mask(2, 1)


@pytest.mark.parametrize("damage", [b"", b"nonsense", "half"])
def test_a_damaged_mask_is_one_sentence(store, damage):
    store.save_mask(0, 1, {"a": np.zeros(400, np.uint8)})
    file = mask_file(store, 0, 1)
    file.write_bytes(file.read_bytes()[:200] if damage == "half" else damage)
    with pytest.raises(
        UserError,
        match=r"masks/0-1\.safetensors cannot be read \(.*\); `fourfold check --repair .*` makes it again by training$",
    ):
        store.mask(0, 1)


def test_kept_weights_come_back_to_the_last_bit(store):
    weights = {
        "fc1.weight": np.float32([0.1, -0.0, 1e-40]),
        "fc1.bias": np.zeros(3, np.float32),
        "steps": np.array(7),
    }
    store.save_weights(1, 4, weights)
    back = store.weights(1, 4)
    assert {name: (array.dtype, array.shape, array.tobytes()) for name, array in back.items()} == {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in weights.items()
    }
    assert [str(file.relative_to(store.path)) for file in store.path.rglob("*.safetensors")] == ["weights/1-4.safetensors"]


def test_weights_that_were_not_kept_are_one_sentence(store):
    with pytest.raises(UserError, match=r"^level 4 of trial 1 in .* was never run"):
        store.weights(1, 4)


def test_a_trial_is_finished_when_its_spec_says_so(tmp_path):
    spec = make_spec(stop=StopSpec(accuracy=50, levels=2))
    store = RunStore.create(tmp_path, spec)
    assert not store.finished(0)
    for level, (top1, finished) in enumerate([(90, False), (49, False), (51, False), (49, False), (49, True)]):
        store.append(make_row(run=spec.id, level=level, top1=top1))
        assert store.finished(0) is finished
    assert not store.finished(1)


def test_a_failed_trial_says_where_and_why_and_is_not_finished(store):
    assert store.failure(4) is None
    store.fail(4, 3, "the loss became nan in epoch 2")
    assert store.failure(4) == "level 3: the loss became nan in epoch 2"
    assert store.trials() == [4]
    assert store.rows(4) == []
    assert not store.finished(4)
    assert [file.name for file in store.path.iterdir() if file.name != "spec.json"] == ["failed-4.json"]


def test_runs_are_found_at_any_depth_once_and_in_order(tmp_path):
    specs = [make_spec(model=ModelSpec(name="lenet-12", algebra=algebra)) for algebra in ("real", "quaternion")]
    made = [RunStore.create(tmp_path / "deep" / "er", specs[0]), RunStore.create(tmp_path / "runs", specs[1])]
    paths = [store.path for store in made]
    assert [run.path for run in find_runs(tmp_path)] == sorted(paths)
    assert [run.path for run in find_runs(tmp_path / "runs", tmp_path)] == sorted(paths)
    assert [run.path for run in find_runs(paths[1])] == [paths[1]]
    (tmp_path / "empty").mkdir()
    assert find_runs(tmp_path / "empty") == []
    assert find_runs() == []


def test_runs_behind_links_are_found_once_by_their_own_names(tmp_path):
    here, there = tmp_path / "runs", tmp_path / "disk"
    inside = RunStore.create(here, make_spec()).path
    outside = RunStore.create(there / "deep", make_spec(model=ModelSpec(name="lenet-12", algebra="quaternion"))).path
    (here / "linked").symlink_to(outside)
    (here / "all").symlink_to(there)
    (here / "again").symlink_to(inside)
    (here / "circle").symlink_to(here)
    (there / "circle").symlink_to(tmp_path)
    (here / "nowhere").symlink_to(tmp_path / "nothing")
    (here / "itself").symlink_to(here / "itself")
    assert [run.path for run in find_runs(here)] == sorted([inside, here / "all" / "deep" / outside.name])
    assert [run.path for run in find_runs(here / "linked")] == [here / "linked"]
    assert [run.path for run in find_runs(inside, here / "again")] == [inside]
    assert [run.path for run in find_runs(tmp_path)] == sorted([inside, outside])
    assert find_runs(here / "linked")[0].spec() == RunStore(outside).spec()


def test_a_folder_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    made = RunStore.create(tmp_path / "runs", make_spec()).path
    closed, scandir = tmp_path / "runs" / "closed", os.scandir
    closed.mkdir()
    (made / "masks").mkdir()

    def scanned(folder):
        if Path(folder) in (closed, made / "masks"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scanned)
    said = []
    assert [run.path for run in find_runs(tmp_path / "runs", unread=said)] == [made]
    assert said == [f"cannot look for runs in {closed} (Permission denied)"]
    for paths in ([tmp_path], [closed], [made, closed]):
        with pytest.raises(UserError, match=r"^cannot look for runs in .*closed \(Permission denied\)$"):
            find_runs(*paths)
    assert [run.path for run in find_runs(made)] == [made]


def test_a_path_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"^there is no .*nowhere; name a run's folder or one that holds runs$"):
        find_runs(tmp_path, tmp_path / "nowhere")


def test_code_goes_on_as_it_began_or_as_it_was_accepted(tmp_path):
    spec = make_spec(model=ModelSpec(name="roads.py:net"))
    first, second, third = ({"roads.py": letter * 64} for letter in "abc")
    store = RunStore.create(tmp_path, spec, code=first)
    assert store.code() == first
    assert store.spec() == spec
    RunStore.create(tmp_path, spec, code=first)
    refused = r"^the code of roads\.py has changed since the run began \(SHA-256 aaaaaaaa, now bbbbbbbb\)"
    with pytest.raises(UserError, match=refused):
        RunStore.create(tmp_path, spec, code=second)
    RunStore.create(tmp_path, spec, code=second, accept_changed_code=True)
    row = make_row(run=spec.id)
    store.append(dataclasses.replace(row, provenance=dataclasses.replace(row.provenance, code=second)))
    assert store.rows(0)[0].provenance.code == second
    RunStore.create(tmp_path, spec, code=second)
    with pytest.raises(UserError, match="has changed since the run began"):
        RunStore.create(tmp_path, spec, code=third)


def test_rows_of_other_tasks_have_their_metrics_and_those_of_images_stay_as_they_were():
    line = make_row().to_line()
    assert not {"metrics", "metric", "code"} & (set(json.loads(line)) | set(json.loads(line)["provenance"]))
    assert make_row().metrics == {"top1": 81.25, "loss": 0.1 + 0.2}
    rmse = Metric(name="rmse", unit="m", higher_is_better=False)
    epoch = Epoch(epoch=1, train_loss=0.5, loss=0.4, metric=0.6)
    row = make_row(top1=None, metric=rmse, metrics={"rmse": 0.5, "r2": -3.0, "loss": 0.25}, epochs=(epoch,))
    again = Row.from_line(row.to_line())
    assert again == row
    assert (again.value, again.metric, again.epochs[0].value) == (0.5, rmse, 0.6)
    assert "top1" not in json.loads(row.to_line())
    for damage in ({"metrics": {"r2": 0.5}}, {"metrics": {}}, {"top1": 5.0}, {"metric": {"name": "top1", "unit": "%"}}):
        with pytest.raises(UserError, match="is not a row of fourfold"):
            Row.from_line(json.dumps(json.loads(row.to_line()) | damage))


def test_trials_end_by_the_metric_and_its_direction():
    rmse = Metric(name="rmse", higher_is_better=False)
    spec = make_spec(stop=StopSpec(metric=2.0, levels=2))
    for values, ended in (([1, 3], False), ([1, 3, 2.5], True), ([3, 3, 1], False), ([2, 2], False)):
        assert spec.finished(values, 10**9, None, rmse) == ended
    assert not make_spec(stop=StopSpec(levels=1)).finished([0.0, 0.0], 10**9, None, rmse)  # a percentage bounds no error


def test_a_spec_is_parsed_once_and_a_change_of_its_file_is_noticed(store):
    spec, file = make_spec(), store.path / "spec.json"
    before = spec_file._parsed.cache_info().misses
    for _ in range(20):
        assert store.spec() == spec
        store.rows(0)
    assert spec_file._parsed.cache_info().misses <= before + 1
    text = file.read_text()
    for other in (text[:-9], text.replace('"spec_version": ', '"spec_version": 9')):
        file.write_text(other)
        with pytest.raises(UserError):
            store.spec()
    file.write_text(text)
    assert store.spec() == spec
    assert store.code().clear() is None  # what is given out is the caller's
    assert dataclasses.replace(spec, preset="other").id.startswith("other-")
