"""A trial that moves between machines as files goes on as if it had stayed, and only a trial's files are taken."""

import itertools
import json
import platform
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from fourfold import presets
from fourfold.execution.jobs import Job, Trial
from fourfold.execution.ray import chain, code, parcels
from fourfold.execution.serving import Server
from fourfold.parts import pinned
from fourfold.record import PruneSpec, Row, RunStore, Trust, UserError
from fourfold.record.checkpoints import Training
from fourfold.train import versions
from lottery_samples import results, run_alone, tiny_spec

PLAIN = tiny_spec("quaternion", levels=4)
CARRYING = replace(PLAIN, prune=PruneSpec(fraction=0.5, rewind="step", rewind_to=5))


def run_chain(spec, files, trial=0, expected=None, **settings):
    """Run a chain as Ray does."""
    job = Job(specs=(spec,), device="cpu", **settings)
    return chain.run_chain(Trial(spec=spec, number=trial, job=job).to_line(), files, expected or versions())


def take_home(store, made, most_rows=1000) -> list[dict]:
    """Write what a chain yields as the bridge does, and return its events; what follows some rows is lost."""
    events = []
    for line, files in itertools.chain.from_iterable(made):
        value = json.loads(line)
        row = Row.from_line(value["line"]) if "line" in value else None
        if sum(event["event"] == "row" for event in events) < most_rows:
            parcels.accept(store, files, row)
            events.append(value)
    return events


@pytest.mark.parametrize("spec", [PLAIN, CARRYING], ids=["mask alone", "with a state"])
def test_a_chain_that_is_cut_goes_on_elsewhere_with_the_same_rows_and_files(spec, alone, tmp_path):
    store = RunStore.create(tmp_path, spec)
    take_home(store, run_chain(spec, {}), most_rows=2)
    assert [row.level for row in store.rows(0)] == [0, 1]
    packed = parcels.pack(store, 0, every_mask=False)
    made = list(run_chain(spec, packed))
    names = [*packed, *(name for _, files in itertools.chain.from_iterable(made) for name in files)]
    assert len(set(names)) == len(names)  # no file crosses twice
    events = take_home(store, made)
    assert events[-1]["event"] == "finished"
    assert [event["level"] for event in events if event["event"] == "epoch"] == [2, 3]
    assert results(store.rows(0)) == results(alone(spec).rows(0))
    for kind in ("masks", "states"):
        names = sorted(file.name for file in (alone(spec).path / kind).glob("*"))
        assert sorted(file.name for file in (store.path / kind).glob("*")) == names
        for name in names:
            assert (store.path / kind / name).read_bytes() == (alone(spec).path / kind / name).read_bytes()


def test_a_chain_that_is_cut_inside_a_level_goes_on_elsewhere_where_its_checkpoint_was(tmp_path, monkeypatch, alone):
    monkeypatch.setattr(chain, "HOME_SECONDS", 0.0)
    spec, asked = tiny_spec("quaternion", levels=2, epochs=3), {"checkpoint": "epoch"}
    store = RunStore.create(tmp_path, spec)
    made = [*itertools.chain.from_iterable(run_chain(spec, {}, **asked))]
    rows = [number for number, (line, _) in enumerate(made) if json.loads(line)["event"] == "row"]
    take_home(store, [made[: rows[1] - 1]])  # all but the last epoch of level 1
    assert list(store.checkpoints.positions()) == [Training(0, 1)]
    events = take_home(store, run_chain(spec, parcels.pack(store, 0, every_mask=False), **asked))
    assert [event["event"] for event in events] == ["resumed", "epoch", "row", "finished"]
    assert (events[0]["level"], events[0]["message"]) == (1, "epoch 3 of 3, step 0 of 24")
    assert results(store.rows(0)) == results(alone(spec).rows(0))
    assert store.checkpoints.positions() == {}


def test_a_mask_that_is_damaged_at_home_comes_back_whole(tmp_path, alone):
    store = RunStore.create(tmp_path, PLAIN)
    take_home(store, run_chain(PLAIN, {}), most_rows=2)
    mask = store.path / "masks" / "0-2.safetensors"
    content = mask.read_bytes()
    mask.write_bytes(content[:-1])
    events = take_home(store, run_chain(PLAIN, parcels.pack(store, 0, every_mask=False)))
    notices = [event["message"] for event in events if event["event"] == "notice"]
    assert len(notices) == 2  # the mask before it does not travel, and is made again on the node, too
    assert mask.read_bytes() == content
    assert results(store.rows(0)) == results(alone(PLAIN).rows(0))


def test_checkpoints_go_home_at_most_every_few_minutes(tmp_path):
    spec = tiny_spec(levels=1, epochs=5)
    made = itertools.chain.from_iterable(run_chain(spec, {}, checkpoint="epoch"))
    assert {json.loads(line)["event"] for line, _ in made} == {"epoch", "row", "finished"}


def test_a_checkpoint_that_finds_no_room_at_home_ends_nothing(tmp_path, alone):
    store = RunStore.create(tmp_path, PLAIN)
    (store.path / "checkpoints").write_text("in the way")
    warning = parcels.accept(store, {"checkpoints/0-0.safetensors": b""}, None)
    assert warning.startswith(f"no checkpoint could be written to {store.path} (")
    assert parcels.accept(store, {}, alone(PLAIN).rows(0)[0]) is None
    assert len(store.rows(0)) == 1


def test_kept_weights_and_controls_come_home(tmp_path):
    store = RunStore.create(tmp_path, PLAIN)
    take_home(store, run_chain(PLAIN, {}, keep=[1, 3]))
    assert store.kept_levels(0) == [1, 3]
    files = parcels.pack(store, 0, every_mask=True)
    take_home(store, run_chain(PLAIN, files, controls=("inverted", "equal-macs"), control_levels=(2,)))
    assert [row.level for row in store.control_rows(0, "inverted")] == [2]
    assert [row.level for row in store.control_rows(0, "equal-macs")] == [0, 1, 2]
    assert (store.path / "masks" / "0-3-equal-macs.safetensors").exists()
    assert len(store.rows(0)) == 4


class Pretended:
    """A server that tells some events, one after the other, each when it is allowed to."""

    def __init__(self, *kinds):
        self.kinds = kinds
        self.allowed = threading.Semaphore(0)

    def serve(self, task, write):
        for kind in self.kinds:
            time.sleep(0.02)  # time to be sent alone
            assert self.allowed.acquire(timeout=60)
            write(json.dumps({"event": kind}))


def kinds_of(parcel) -> list[str]:
    return [json.loads(line)["event"] for line, _ in parcel]


def test_what_happens_is_sent_in_one_parcel_and_the_end_at_once(monkeypatch):
    server = Pretended("epoch", "epoch", "row", "epoch", "finished")
    server.allowed.release(5)
    monkeypatch.setattr(chain, "_SERVER", server)
    monkeypatch.setattr(chain, "PARCEL_SECONDS", 1000)  # longer than a test may take
    assert [kinds_of(parcel) for parcel in run_chain(PLAIN, {})] == [list(server.kinds)]


def test_what_happens_is_sent_before_the_end(monkeypatch):
    server = Pretended("epoch", "row", "finished")
    monkeypatch.setattr(chain, "_SERVER", server)
    monkeypatch.setattr(chain, "PARCEL_SECONDS", 0.01)
    server.allowed.release()
    told = []
    for parcel in run_chain(PLAIN, {}):
        told.append(kinds_of(parcel))
        server.allowed.release()  # the next happens when this has come
    assert told == [["epoch"], ["row"], ["finished"]]


def test_without_controls_only_the_next_level_s_mask_travels(alone):
    store = alone(PLAIN)
    assert set(parcels.pack(store, 0, every_mask=False)) == {"rows-0.jsonl", "masks/0-4.safetensors"}
    assert set(parcels.pack(store, 0, every_mask=True)) == {
        "rows-0.jsonl",
        *(f"masks/0-{level}.safetensors" for level in (1, 2, 3, 4)),
    }


def test_files_of_other_trials_stay(tmp_path):
    for trial in (1, 11):
        run_alone(PLAIN, tmp_path, trial)
    store = RunStore(tmp_path / PLAIN.id)
    store.fail(11, 2, "nan")
    assert all(
        name.split("/")[-1].removeprefix("rows-").startswith("1") and "11" not in name
        for name in parcels.pack(store, 1, every_mask=True)
    )
    assert "failed-11.json" in parcels.pack(store, 11, every_mask=True)
    assert set(parcels.new_files(store, 1, ())) == {f"masks/1-{level}.safetensors" for level in (1, 2, 3, 4)}


def test_a_control_s_level_ends_no_state_of_the_trial(alone, tmp_path):
    store = RunStore.create(tmp_path, PLAIN)
    parcels.accept(store, {}, alone(PLAIN).rows(0)[0])
    store.save_state(0, 1, {"weight": np.zeros(3)})
    parcels.accept(store, {}, replace(alone(PLAIN).rows(0)[2], control="inverted"))
    assert parcels.new_files(store, 0, ()).keys() == {"states/0-1.safetensors"}
    parcels.accept(store, {}, alone(PLAIN).rows(0)[1])
    assert parcels.new_files(store, 0, ()) == {}


def test_a_failure_comes_home(tmp_path):
    spec = tiny_spec("quaternion", optimizer="sgd", learning_rate=99.0)
    store = RunStore.create(tmp_path, spec)
    events = take_home(store, run_chain(spec, {}))
    assert events[-1]["event"] == "failed"
    assert store.failure(0)
    again = take_home(store, run_chain(spec, parcels.pack(store, 0, every_mask=False)))
    assert [event["event"] for event in again] == ["failed"]


@pytest.mark.parametrize(
    "name", ["../rows-0.jsonl", "/etc/rows-0.jsonl", "spec.json", "masks/../../0-1.safetensors", "masks/0-1.safetensors\n"]
)
def test_names_that_no_trial_has_are_refused(name, tmp_path):
    store = RunStore.create(tmp_path / "runs", PLAIN)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"^a node of the cluster sent a file named .*, which no run has$"):
        parcels.unpack(store, {name: b"x"})
    assert sorted(tmp_path.rglob("*")) == before


def test_a_node_with_other_versions_is_one_sentence():
    other = versions() | {"torch": "1.0"}
    sentence = f"node {platform.node()} has torch {versions()['torch']} and this machine 1.0: install the same on both"
    assert chain.probe([], None, versions()) is None
    assert chain.probe([], None, other) == sentence
    (((line, files),),) = run_chain(PLAIN, {}, expected=other)
    assert (json.loads(line)["event"], json.loads(line)["message"], files) == ("error", sentence, {})


OWN = """
import numpy as np
from torch import nn

import fourfold as ff
from helper_of_own_on_ray import WIDTH


def data():
    x = np.random.default_rng(0).standard_normal((60, 8)).astype("float32")
    return ff.data.from_arrays((x, (x[:, 0] > 0).astype("int64")))


def net(algebra, inputs, outputs):
    return nn.Sequential(ff.nn.Linear(inputs[0], WIDTH, algebra=algebra), nn.ReLU(), nn.Linear(WIDTH, outputs))
"""


def in_another_process(name):
    """Forget what this process has imported of the user's code, and where from."""
    for module in ("helper_of_own_on_ray", name):
        sys.modules.pop(module, None)
    sys.path[:] = [path for path in sys.path if "fourfold-code-" not in path and "pytest-of-" not in path]


@pytest.mark.parametrize("kind", ["file", "module"])
def test_code_of_the_user_s_travels_to_a_node_that_does_not_see_it(tmp_path, monkeypatch, kind):
    """With what it imports; and where the folder is seen, or the code that is there is other code, as it must."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    there, folder = tmp_path / "node", tmp_path / "driver"
    folder.mkdir()
    name = f"own_on_ray_{kind}"
    (folder / f"{name}.py").write_text(OWN)
    (folder / "helper_of_own_on_ray.py").write_text("WIDTH = 8\n")
    source = f"{name}.py" if kind == "file" else name
    made = presets.new("ray", data=f"{source}:data", model=f"{source}:net", epochs=1, max_level=1, algebra="quaternion")
    spec = pinned(made.trusted(Trust(folder=str(folder))))
    expected = run_alone(spec, tmp_path / "alone").rows(0)
    trial = Trial(spec=spec, number=0, job=Job(specs=(spec,)))
    files = code.pack(trial)
    assert sorted(files) == ["code/helper_of_own_on_ray.py", f"code/{name}.py"]
    assert code.unpack(trial, files) == trial
    shutil.move(folder, there)
    in_another_process(name)
    store = RunStore.create(tmp_path / "runs", spec)
    take_home(store, run_chain(spec, files))
    assert results(store.rows(0)) == results(expected)
    in_another_process(name)
    monkeypatch.setattr(chain, "_SERVER", Server(experiments_kept=1))
    altered = files | {"code/helper_of_own_on_ray.py": b"WIDTH = 9\n"}
    ((event, _),) = [*itertools.chain.from_iterable(run_chain(spec, altered))]
    assert "has changed since the run began" in json.loads(event)["message"]
    in_another_process(name)


def test_a_node_without_the_data_is_one_sentence(tmp_path):
    assert chain.probe(["digits"], str(tmp_path), versions()) is None
    told = chain.probe(["mnist"], str(tmp_path), versions())
    assert told is not None
    assert told.startswith(f"on node {platform.node()}, mnist is not in {tmp_path} (")


@pytest.mark.slow
def test_nothing_of_ray_is_imported_without_being_asked_for():
    program = "import fourfold.cli.run, fourfold.lottery, sys; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
